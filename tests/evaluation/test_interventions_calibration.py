"""The instrument is calibrated on agents whose answers are known: those that answer pass, those that do not fail."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom

from avatar_lab.evaluation.answers import Answer, passes
from avatar_lab.evaluation.equivalence import Conclusion
from avatar_lab.evaluation.experiment import Expected, Experiment
from avatar_lab.evaluation.intervention_rows import mark_gating, rows_of_agent
from avatar_lab.evaluation.interventions import EXPERIMENTS
from avatar_lab.evaluation.interview import ask, units_of
from avatar_lab.evaluation.outcomes import Rate, Trial
from avatar_lab.evaluation.own_channel import Echo
from avatar_lab.evaluation.permutation import Alternative, sign_flip_test
from avatar_lab.evaluation.units import Unit
from avatar_lab.evaluation.world_arms import Part, WorldArms, world_agents
from avatar_lab.event_types import Event, EventType
from avatar_lab.level import Level
from tests.evaluation.simulated import LAYOUT, conversations, references

DYADS = 12
ASKED = ("A1", "A2", "A3", "A4", "A5", "V1", "V3", "V4", "V5", "A5_blink", "N1", "N5")


def trials_of(agent: str, name: str) -> tuple[Experiment, list[Trial]]:
    experiment, known = EXPERIMENTS[name], references(DYADS)
    units, partners = units_of(experiment, conversations(DYADS), known, layout=LAYOUT, seed=0)
    arms = WorldArms(agent=world_agents(LAYOUT)[agent], dialogue=known.dialogue, layout=LAYOUT, seed=0)
    return experiment, arms.trials(experiment, units, partners)


@cache
def asked(agent: str) -> dict[str, Answer]:
    known, found = references(DYADS), {}
    for name in ASKED:
        experiment = EXPERIMENTS[name]
        units, partners = units_of(experiment, conversations(DYADS), known, layout=LAYOUT, seed=0)
        arms = WorldArms(agent=world_agents(LAYOUT)[agent], dialogue=known.dialogue, layout=LAYOUT, seed=0)
        for one in ask(experiment, arms, units, partners, level=Level.SEE, free=True, references=known, seed=0):
            found[f"{name}/{one.question}"] = one
    return found


@cache
def rows() -> dict[tuple[str, str], dict]:
    table = [
        row
        for agent in ("oracle", "yoked", "frozen")
        for row in rows_of_agent(agent, list(asked(agent).values()), run_id="t", config_sha="c")
    ]
    mark_gating(table)
    return {(row["agent"], f"{row['intervention']}/{row['question']}"): row for row in table}


CHANGES = (
    *("A1/nod_rate", "A1/backchannel_rate", "A2/nod_response", "A2/nod_response_to_given", "A2/nod_placement"),
    *("A3/nod_shift", "A4/nod_after_pause", "V1/smile_response", "V3/smile_response", "V4/smile_shift"),
    "V5/smile_after_smile",
)


@pytest.mark.ci
@pytest.mark.parametrize("question", CHANGES)
def test_who_answers_passes_and_who_does_not_fails(question: str) -> None:
    assert rows()["oracle", question]["passed"] is True, rows()["oracle", question]
    for agent in ("yoked", "frozen"):
        assert not rows()[agent, question]["passed"], rows()[agent, question]
    assert rows()["oracle", question]["gating"]


@pytest.mark.ci
def test_what_the_world_says_must_not_change_does_not() -> None:
    for question in ("A1/smile_response", "V1/nod_response", "V1/backchannel_response", "V3/nod_response"):
        found = rows()["oracle", question]
        assert found["effect"] == 0
        assert found["equivalence"] != "different"
    blink = asked("oracle")["A5_blink/any_after_blink"]
    assert blink.effect.value == 0, "a blink sets off nothing"
    nod = asked("oracle")["V5/nod_after_nod"]
    assert nod.expected is Expected.UNCHANGED, "this world has no such edge"


class Echoing(WorldArms):
    """The same agent, which takes its own echo for the user: after each of its pauses it nods and says mm-hm."""

    def _treated(self, treatment: object, unit: Unit, part: Part) -> list[Event]:
        events = super()._treated(treatment, unit, part)
        if not isinstance(treatment, Echo):
            return events
        answers = [
            replace(pause, type=kind, start=pause.start + 0.6, end=pause.start + 1.1)
            for pause in part.dialogue.of(part.side)
            if pause.type is EventType.PAUSE and pause.start > part.time
            for kind in (EventType.NOD, EventType.BACKCHANNEL)
        ]
        return [*events, *answers]


@pytest.mark.ci
def test_an_avatar_that_answers_its_own_echo_is_caught() -> None:
    known, experiment = references(DYADS), EXPERIMENTS["N5"]
    units, partners = units_of(experiment, conversations(DYADS), known, layout=LAYOUT, seed=0)
    arms = Echoing(agent=world_agents(LAYOUT)["oracle"], dialogue=known.dialogue, layout=LAYOUT, seed=0)
    answers = ask(experiment, arms, units, partners, level=Level.SEE, free=True, references=known, seed=0)
    assert [one.question for one in answers] == ["nod_rate", "backchannel_rate"]
    for one in answers:
        assert one.equivalence is Conclusion.DIFFERENT, one
        assert passes(one, one.p, alpha=0.05) is False
        sound = asked("oracle")[f"N5/{one.question}"]
        assert passes(sound, sound.p, alpha=0.05) is True


@pytest.mark.ci
def test_a_response_moves_by_as_much_as_its_cue() -> None:
    for question in ("A3/nod_shift", "V4/smile_shift"):
        assert asked("oracle")[question].effect.value == pytest.approx(1.0, abs=0.12)
        moved = asked("yoked")[question].effect.value
        assert moved is None or abs(moved) < 0.3


@pytest.mark.ci
def test_power_is_stated() -> None:
    found = asked("oracle")["A4/nod_after_pause"]
    assert found.power is not None
    assert found.power > 0.8
    assert found.units >= DYADS


@pytest.mark.ci
def test_a_question_that_does_not_tell_agents_apart_does_not_gate() -> None:
    table = [dict(row) for (agent, _), row in rows().items()]
    for row in table:
        if row["agent"] == "yoked" and row["question"] == "nod_rate":
            row["passed"] = True
    mark_gating(table)
    by_key = {(row["agent"], row["intervention"], row["question"]): row["gating"] for row in table}
    assert not by_key["oracle", "A1", "nod_rate"]
    assert by_key["oracle", "V1", "smile_response"]
    alone = [dict(row) for row in table if row["agent"] == "yoked"]
    mark_gating(alone)
    assert not any(row["gating"] for row in alone if row["expected"] != Expected.BIT_EXACT)


@pytest.mark.ci
def test_arms_that_change_places_at_random_reject_at_the_level() -> None:
    """A/A: the sign of every dyad's effect is drawn; what is then rejected is false."""
    experiment, trials = trials_of("oracle", "A1")
    outcome = experiment.questions[0].outcome
    assert isinstance(outcome, Rate)
    by_dyad: dict[str, list[float]] = {}
    for trial in trials:
        pair = outcome.pair(trial, "treated")
        assert pair is not None
        by_dyad.setdefault(trial.unit.dyad, []).append(pair[1] - pair[0])
    effects_D = np.array([np.mean(own) for own in by_dyad.values()])
    rng, rounds = np.random.default_rng(0), 200
    signs_RD = rng.choice([-1.0, 1.0], size=(rounds, DYADS))
    rejected = sum(
        sign_flip_test(signs_D * effects_D, seed=0, draws=5000, alternative=Alternative.LESS) <= 0.05
        for signs_D in signs_RD
    )
    low, high = binom.interval(0.999, rounds, 0.05)
    assert low <= rejected <= high


@pytest.mark.ci
def test_nothing_changed_is_equivalent_only_if_nothing_could_change() -> None:
    """A frozen agent's arms are equal to the bit; an unlucky one that shows no event in either is not proven so."""
    assert asked("frozen")["A5_blink/any_after_blink"].equivalence is Conclusion.EQUIVALENT
