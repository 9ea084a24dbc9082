"""Agents x conversations -> rows, events and films on disk; an agent that is done is not done again.

Files under ``out``: ``rows/<agent>.parquet``, what was observed (``archive``), ``cues.json`` and ``films/``. Report and
notebooks only read them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from avatar_lab.data.schema import SIDES
from avatar_lab.evaluation.agents import SCRIPTED, Agent, ModelAgent
from avatar_lab.evaluation.archive import read_observations, write_observations
from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.crew import Crew, crew
from avatar_lab.evaluation.cues import CueTimes
from avatar_lab.evaluation.measure import conversation_cues, measure
from avatar_lab.evaluation.measure_pooled import measure_pooled
from avatar_lab.evaluation.metrics import SUMMARY_METRICS
from avatar_lab.evaluation.observation import Observation
from avatar_lab.evaluation.references import Unavailable
from avatar_lab.evaluation.rows import Measurement, Provenance, Status, rows_are_current, write_rows
from avatar_lab.evaluation.studio import Studio
from avatar_lab.evaluation.summary import write_json

log = logging.getLogger(__name__)

TRUTH = "oracle"
"""The recorded people, through codecs and reader."""

Progress = Callable[[str, int, int], None]
"""Called with (agent, conversations done, all conversations)."""


def run_agents(
    studio: Studio,
    names: Sequence[str],
    *,
    out: Path,
    provenance: Callable[[Agent], Provenance],
    batch_size: int,
    offline_dyads: int | None,
    workers: int,
    progress: Progress,
) -> dict[str, float]:
    """Measure the agents ``names`` that are not measured yet; returns wall seconds by agent.

    The recorded people, seen through the same codecs and reader, are observed whoever is asked for: they are the truth
    that others are compared with.

    Args:
        provenance: the shared columns of an agent's rows; equal ``config_sha`` means that it is done.
        batch_size: conversations per task, at most.
        offline_dyads: judge agents that do not stream, which may be slow, on the first so many dyads only.
    """
    cues = [conversation_cues(conversation, seed=studio.seed) for conversation in studio.conversations]
    write_cues(out / "cues.json", studio.conversations, cues)
    seconds = {}
    seen: dict[str, Observation] = {}
    truth: dict[str, Observation] = {}
    with crew(studio, workers) as workers_of:

        def observe(name: str) -> dict[str, Observation]:
            """What an agent does, by name of sample: from the archive where it is kept."""
            agent = studio.agents[name]
            sha = provenance(agent).config_sha
            kept = read_observations(out, name, sha)
            if kept is not None:
                return kept
            judged = conversations_of(agent, studio, offline_dyads)
            size = min(batch_size, math.ceil(len(judged) / max(workers, 1)))  # work for every worker
            made = _observe_all(workers_of, name, len(judged), size, progress, seen)
            found = {conversation.name: one for conversation, one in zip(judged, made, strict=True)}
            write_observations(out, name, found, sha)
            return found

        for name in names:
            shared = provenance(studio.agents[name])
            path = out / "rows" / f"{name}.parquet"
            if rows_are_current(path, shared.config_sha):
                log.info("%s is measured already", name)
                continue
            start = time.perf_counter()
            truth = truth or observe(TRUTH)
            try:
                observations = truth if name == TRUTH else observe(name)
            except Unavailable as error:
                log.warning("%s is unavailable: %s", name, error)
                write_rows(path, _unavailable(str(error)), shared)
                continue
            free = shared.condition != SCRIPTED
            judged = [conversation for conversation in studio.conversations if conversation.name in observations]
            rows = [
                row
                for conversation, own_cues in zip(studio.conversations, cues, strict=True)
                if conversation.name in observations
                for row in measure(
                    conversation,
                    observations[conversation.name],
                    own_cues,
                    studio.layout,
                    truth=truth[conversation.name],
                    user=truth[conversation.partner],
                    free=free,
                )
            ]
            rows += measure_pooled(judged, observations, truth, layout=studio.layout, seed=studio.seed, free=free)
            write_rows(path, rows, shared)
            seconds[name] = time.perf_counter() - start
    return seconds


def conversations_of(agent: Agent, studio: Studio, offline_dyads: int | None) -> tuple[Conversation, ...]:
    """The conversations in which an agent is judged: all, or those of the first ``offline_dyads`` dyads."""
    if offline_dyads is None or not (isinstance(agent, ModelAgent) and agent.offline):
        return studio.conversations
    return studio.conversations[: offline_dyads * len(SIDES)]


def write_cues(path: Path, conversations: Sequence[Conversation], cues: Sequence[dict[str, CueTimes]]) -> None:
    """``cues.json``: per sample and kind of cue, the times of cues and of matched moments."""
    plain = {
        conversation.name: {
            "dyad": conversation.key,
            "partner": conversation.partner,
            "seconds": conversation.seconds,
            "kinds": {
                kind: {"cues": times.cues_N.round(3).tolist(), "controls": times.controls_M.round(3).tolist()}
                for kind, times in by_kind.items()
            },
        }
        for conversation, by_kind in zip(conversations, cues, strict=True)
    }
    write_json(path, plain)


def _unavailable(reason: str) -> list[Measurement]:
    return [
        Measurement(dyad_id="", sample_id="", metric=metric, value=None, n=0, status=Status.UNAVAILABLE, reason=reason)
        for metric in SUMMARY_METRICS
    ]


def _observe_all(
    crew: Crew,
    name: str,
    total: int,
    batch_size: int,
    progress: Progress,
    seen: dict[str, Observation],
) -> list[Observation]:
    """Observations of one agent in the first ``total`` conversations; ``seen`` (by digest of the media) grows."""
    known = frozenset(seen)
    tasks = [(name, range(start, min(start + batch_size, total)), known) for start in range(0, total, batch_size)]
    found: dict[int, Observation] = {}
    progress(name, 0, total)
    for (_, numbers, _), results in crew.each(_perform, tasks):
        for number, (digest, observation) in zip(numbers, results, strict=True):
            if observation is not None:
                seen[digest] = observation
            found[number] = seen[digest]
        progress(name, len(found), total)
    return [found[number] for number in range(total)]


def _perform(studio: Studio, task: tuple[str, range, frozenset[str]]) -> list[tuple[str, Observation | None]]:
    name, numbers, known = task
    return studio.perform(studio.agents[name], numbers, known)
