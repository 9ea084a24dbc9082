"""Agents x interventions -> ``interventions.parquet``; what is answered already is not asked again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar_lab.data.schema import SIDES
from avatar_lab.evaluation.agents import AGENTS, ModelAgent
from avatar_lab.evaluation.answers import Answer, exact
from avatar_lab.evaluation.arms import ModelArms
from avatar_lab.evaluation.causality import Baseline, no_future, no_future_live, on_the_codebook, own_user_only
from avatar_lab.evaluation.conversation import Conversation, recorded_batch
from avatar_lab.evaluation.crew import crew
from avatar_lab.evaluation.exact_checks import Check
from avatar_lab.evaluation.fallback import fallback
from avatar_lab.evaluation.intervention_rows import (
    mark_gating,
    read_answers,
    rows_of_agent,
    unavailable_row,
    write_answers,
    write_interventions,
)
from avatar_lab.evaluation.interventions import EXPERIMENTS
from avatar_lab.evaluation.interview import Arms, ask, units_of
from avatar_lab.evaluation.references import Unavailable
from avatar_lab.evaluation.studio import Studio
from avatar_lab.evaluation.summary import write_json
from avatar_lab.evaluation.world_arms import WorldArms, world_agents
from avatar_lab.level import Level

log = logging.getLogger(__name__)

CHECKED_CONVERSATIONS = 4
"""A check to the bit needs few; one difference refutes it."""
LIVE_SECONDS = 6.4
FALLBACK, CAUSALITY = "F1", "C1"
INTERVENTIONS = (*EXPERIMENTS, FALLBACK, CAUSALITY)
LEVEL_AGENTS = {Level.TALK: "level1", Level.LISTEN: "level2", Level.SEE: "level3"}


@dataclass(frozen=True, kw_only=True)
class Interviewer:
    """Asks agents about interventions.

    conversations  those of the evaluation, or the first of them
    """

    studio: Studio
    conversations: Sequence[Conversation]
    batch_size: int

    def ask(self, agent: str, intervention: str) -> list[Answer]:
        """Answers of one agent.

        Raises:
            Unavailable: a checkpoint, or the recordings of the embedded world, are not there.
        """
        if intervention in (FALLBACK, CAUSALITY):
            return self._exact(agent, intervention)
        experiment = EXPERIMENTS[intervention]
        studio = self.studio
        units, partners = units_of(
            experiment, self.conversations, studio.references, layout=studio.layout, seed=studio.seed
        )
        return ask(
            experiment,
            self.arms(agent),
            units,
            partners,
            level=level_of(agent),
            free=decides_itself(agent),
            references=studio.references,
            seed=studio.seed,
        )

    def arms(self, agent: str) -> Arms:
        """Who makes this agent's trials."""
        who = AGENTS.get(agent)
        if isinstance(who, ModelAgent):
            return ModelArms(studio=self.studio, agent=who, batch_size=self.batch_size)
        studio = self.studio
        return WorldArms(
            agent=world_agents(studio.layout)[agent],
            dialogue=studio.references.dialogue,
            layout=studio.layout,
            seed=studio.seed,
        )

    def _exact(self, agent: str, intervention: str) -> list[Answer]:
        who = AGENTS.get(agent)
        if not isinstance(who, ModelAgent) or who.offline:
            raise Unavailable(f"{intervention} is asked of streaming checkpoints only")
        studio, chosen = self.studio, self.conversations[:CHECKED_CONVERSATIONS]
        checkpoint, batch = studio.checkpoint(who), recorded_batch(studio.data, chosen)
        silence_K = studio.audio_codec.silence_K
        if intervention == FALLBACK:
            if who.level is Level.TALK or who.level is not checkpoint.level:
                raise Unavailable(f"{agent} has no stream that could be absent")
            below = AGENTS[LEVEL_AGENTS[Level(who.level - 1)]]
            assert isinstance(below, ModelAgent)
            findings = fallback(checkpoint, studio.checkpoint(below), batch, silence_K=silence_K, seed=studio.seed)
        else:
            baseline = Baseline.of(
                checkpoint,
                batch,
                level=who.level,
                silence_K=silence_K,
                seed=studio.seed,
                scripted=who.scripted,
            )
            findings = [*no_future(baseline), *own_user_only(baseline), on_the_codebook(baseline)]
            if who.level is checkpoint.level and who.level.listens:
                seconds = min(LIVE_SECONDS, chosen[0].seconds / 2)
                user = studio.user(chosen[0]).first(2 * seconds, studio.layout)
                one = recorded_batch(studio.data, chosen[:1])
                findings.append(no_future_live(studio, checkpoint, one, user, seconds=seconds, seed=studio.seed))
        return [_of_check(intervention, check) for check in findings]


def level_of(agent: str) -> Level:
    """What an agent can perceive; reference agents perceive everything, if late."""
    who = AGENTS.get(agent)
    return who.level if isinstance(who, ModelAgent) else Level.SEE


def decides_itself(agent: str) -> bool:
    """Whether nobody gives it its turns; the people behind reference agents decided in the recording."""
    who = AGENTS.get(agent)
    return not (isinstance(who, ModelAgent) and who.scripted)


def _of_check(intervention: str, check: Check) -> Answer:
    reason = check.vacuous if check.passed else None
    return exact(
        intervention,
        check.question,
        changed=len(check.differences) / max(check.compared, 1),
        units=check.compared,
        reason=reason,
    )


def run_interventions(
    studio: Studio,
    agents: Sequence[str],
    interventions: Sequence[str],
    *,
    out: Path,
    num_dyads: int | None,
    batch_size: int,
    workers: int,
    config_sha: Callable[[str], str],
    progress: Callable[[str, int, int], None],
) -> list[dict[str, Any]]:
    """Ask all agents about all interventions, and write ``out/interventions.parquet`` and ``.json``.

    Args:
        num_dyads: ask about the first so many dyads only; ``None``: all.
        workers: processes.
        config_sha: of an agent; equal ones mean that stored answers still hold.
    """
    count = len(studio.conversations if num_dyads is None else studio.conversations[: num_dyads * len(SIDES)])
    sha = {agent: f"{config_sha(agent)}-{count}" for agent in agents}
    found: dict[tuple[str, str], list[Answer]] = {}
    missing: list[tuple[str, str, int, int]] = []
    for agent in agents:
        for intervention in interventions:
            stored = read_answers(_answers_path(out, agent, intervention), sha[agent])
            if stored is None:
                missing.append((agent, intervention, count, batch_size))
            else:
                found[agent, intervention] = stored
    unavailable: dict[tuple[str, str], str] = {}
    with crew(studio, min(workers, len(missing))) as hands:
        progress("interventions", len(found), len(found) + len(missing))
        for (agent, intervention, _, _), answers in hands.each(_ask, missing):
            if isinstance(answers, str):
                log.warning("%s of %s is unavailable: %s", intervention, agent, answers)
                unavailable[agent, intervention] = answers
            else:
                write_answers(_answers_path(out, agent, intervention), answers, sha[agent])
                found[agent, intervention] = answers
            progress("interventions", len(found) + len(unavailable), len(agents) * len(interventions))
    rows: list[dict[str, Any]] = []
    for agent in agents:
        answers_of = [answer for name in interventions for answer in found.get((agent, name), [])]
        rows += rows_of_agent(agent, answers_of, run_id=out.name, config_sha=sha[agent])
        for name in interventions:
            if (agent, name) in unavailable:
                reason = unavailable[agent, name]
                rows.append(unavailable_row(agent, name, reason, run_id=out.name, config_sha=sha[agent]))
    mark_gating(rows)
    write_interventions(out / "interventions.parquet", rows)
    write_json(out / "interventions.json", rows)
    return rows


def _answers_path(out: Path, agent: str, intervention: str) -> Path:
    return out / "interventions" / f"{agent}.{intervention}.json"


def _ask(studio: Studio, task: tuple[str, str, int, int]) -> list[Answer] | str:
    """Answers of one agent about one intervention, or why there are none."""
    agent, intervention, count, batch_size = task
    asker = Interviewer(studio=studio, conversations=studio.conversations[:count], batch_size=batch_size)
    try:
        return asker.ask(agent, intervention)
    except Unavailable as error:
        return str(error)


def log_rows(rows: Sequence[dict[str, Any]]) -> None:
    """One line per row: who was asked what, what came of it, and whether that is what must."""
    for row in rows:
        mark = {True: "as expected", False: "NOT AS EXPECTED", None: row["reason"] or "reported"}[row["passed"]]
        effect = "" if row["effect"] is None else f"{row['effect']:+.3g} {row['unit']}"
        asked = f"{row['intervention']}/{row['question']}"
        log.info("%-18s %-32s %-12s %-20s %s", row["agent"], asked, row["expected"], effect, mark)
