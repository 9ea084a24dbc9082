"""Arms that only the calibrated world can answer: a laugh that is heard, a raised hand that is seen.

Its people laugh in their own turns and raise hands; those of the quickstart's world do not, and nothing is asked there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from avatar_lab.evaluation.answers import Answer
from avatar_lab.evaluation.equivalence import Conclusion
from avatar_lab.evaluation.experiment import Expected, Experiment
from avatar_lab.evaluation.injections import Inject, again
from avatar_lab.evaluation.intervention_rows import mark_gating, rows_of_agent
from avatar_lab.evaluation.interventions import EXPERIMENTS
from avatar_lab.evaluation.interview import ask, has_edge, units_of
from avatar_lab.evaluation.outcomes import Trial
from avatar_lab.evaluation.references import Unavailable
from avatar_lab.evaluation.units import AFTER_SECONDS, Unit
from avatar_lab.evaluation.world_arms import WorldArms, world_agents
from avatar_lab.event_types import EventType
from avatar_lab.events.laughs import detect_laughs
from avatar_lab.level import Level
from avatar_lab.world.calibrated import calibrated
from avatar_lab.world.dialogue import Dialogue
from avatar_lab.world.face import render_face
from avatar_lab.world.simulate import simulate
from avatar_lab.world.tracks import VOICE_RATE
from avatar_lab.world.voice import F0, synthesize
from tests.evaluation.simulated import CALIBRATED, LAYOUT, QUICKSTART, SECONDS, Simulated, conversations, references

DYADS = 14
KNOWN = references(DYADS, CALIBRATED)
CHANGES = ("A4_laugh/laugh_after_laugh", "A4_laugh/smile_after_laugh", "V5_hand/yield_after_hand_raise")


@cache
def units(name: str) -> tuple[list[Unit], list[Unit]]:
    return units_of(EXPERIMENTS[name], conversations(DYADS, CALIBRATED), KNOWN, layout=LAYOUT, seed=0)


@cache
def asked(agent: str) -> list[Answer]:
    arms = WorldArms(agent=world_agents(LAYOUT)[agent], dialogue=KNOWN.dialogue, layout=LAYOUT, seed=0)
    return [
        one
        for name in ("A4_laugh", "V5", "V5_hand")
        for one in ask(EXPERIMENTS[name], arms, *units(name), level=Level.SEE, free=True, references=KNOWN, seed=0)
    ]


@cache
def rows() -> dict[tuple[str, str], dict]:
    table = [
        row
        for agent in ("oracle", "delayed_oracle", "yoked", "frozen")
        for row in rows_of_agent(agent, asked(agent), run_id="t", config_sha="c")
    ]
    mark_gating(table)
    return {(row["agent"], f"{row['intervention']}/{row['question']}"): row for row in table}


@pytest.mark.ci
@pytest.mark.parametrize("question", CHANGES)
def test_who_answers_passes_and_who_does_not_fails(question: str) -> None:
    for agent in ("oracle", "delayed_oracle"):
        assert rows()[agent, question]["expected"] == Expected.INCREASES, "this world has the edge"
        assert rows()[agent, question]["passed"] is True, rows()[agent, question]
    for agent in ("yoked", "frozen"):
        assert not rows()[agent, question]["passed"], rows()[agent, question]
        assert rows()[agent, question]["effect"] in (0, None), "what is done to the user does not reach it"
    assert rows()["oracle", question]["gating"]
    assert rows()["oracle", "V5/nod_after_nod"]["expected"] == Expected.INCREASES, "the quickstart has no such edge"


@pytest.mark.ci
@pytest.mark.parametrize(
    ("question", "edge"),
    [
        ("A4_laugh/laugh_after_laugh", "laugh_to_laugh"),
        ("A4_laugh/smile_after_laugh", "laugh_to_smile"),
        ("V5_hand/yield_after_hand_raise", "hand_to_yield"),
    ],
)
def test_the_latency_of_the_oracle_is_the_world_s_law(question: str, edge: str) -> None:
    law = KNOWN.dialogue(KNOWN.interactions[0]).graph.edge(edge).delay
    assert law is not None
    drawn = np.array([law.quantile(q) for q in np.linspace(0.005, 0.995, 100)])
    found = rows()["oracle", f"{question}_latency"]
    assert found["expected"] == Expected.REPORTED
    assert found["effect"] == pytest.approx(drawn[drawn < 1.5].mean(), abs=0.2)
    assert rows()["delayed_oracle", f"{question}_latency"]["effect"] > found["effect"]


def injected(name: str) -> Inject:
    treatment = EXPERIMENTS[name].arms["treated"]
    assert isinstance(treatment, Inject)
    return treatment


@pytest.mark.ci
@pytest.mark.parametrize(("name", "answer"), [("A4_laugh", EventType.LAUGH), ("V5_hand", EventType.YIELD)])
def test_a_user_is_rendered_as_if_nobody_had_answered(name: str, answer: EventType) -> None:
    """Else the user would laugh on, or take the floor, and show a model what is expected of it."""
    treatment, answered = injected(name), 0
    for unit in units(name)[0]:
        dialogue, side, time = KNOWN.dialogue(unit.recorded.interaction), unit.recorded.side, unit.begin + unit.time

        def answers(done: Dialogue, side: str = side, time: float = time) -> int:
            return sum(time <= event.start < time + AFTER_SECONDS for event in done.of(side, answer))

        answered += answers(again(dialogue, treatment.done(unit)))
        alone = again(dialogue, treatment.rendered(unit))
        assert answers(alone) == 0
        cue = treatment.deeds[0].type
        assert any(event.start == pytest.approx(time) for event in alone.of(unit.recorded.user, cue))
    assert answered > len(units(name)[0]) / 6


@pytest.mark.ci
def test_the_floor_is_where_the_cue_needs_it_and_the_user_is_perceived() -> None:
    for name, off, avatar_holds in (
        ("A4_laugh", EventType.MICROPHONE_OFF, False),
        ("V5_hand", EventType.CAMERA_OFF, True),
    ):
        found = units(name)[0]
        assert len({unit.dyad for unit in found}) >= DYADS / 2
        for unit in found:
            here, now = unit.conversation, unit.time
            holder = here.side if avatar_holds else here.user
            spoken = [e for e in here.events if e.type is EventType.TURN and e.side == holder]
            assert any(e.start + 0.9 < now < e.end - 2.2 for e in spoken)
            outages = [e for e in here.events if e.type is off and e.side == here.user]
            assert not any(e.start < now + AFTER_SECONDS and e.end > now for e in outages)


@pytest.mark.ci
def test_the_laugh_is_in_the_sound_and_the_hand_in_the_picture() -> None:
    """A laugh comes in bursts and is higher than one speaks; a hand comes up at the lower right of the picture."""
    burst = 0
    for unit in units("A4_laugh")[0][:6]:
        before, after = renditions("A4_laugh", unit)
        heard = [voice_of(dialogue, unit) for dialogue in (before, after)]
        user, now = unit.recorded.user, unit.begin + unit.time
        assert np.array_equal(*(wav_S[: int((now - 0.1) * LAYOUT.sample_rate)] for wav_S in heard))
        laugh = next(e for e in after.of(user, EventType.LAUGH) if e.start == pytest.approx(now))
        burst += len(detect_laughs(heard[1], LAYOUT.sample_rate, [(laugh.start, laugh.end)]))
        rows = slice(round(now * VOICE_RATE), round((now + 0.4) * VOICE_RATE))
        f0_R = after.tracks[user].voice_RQ[rows, F0]
        assert np.median(f0_R) > 2 ** (1 / 12) * after.persons[user].voice.f0
    assert burst >= 4
    for unit in units("V5_hand")[0][:4]:
        before, after = renditions("V5_hand", unit)
        first = round((unit.begin + unit.time) * float(LAYOUT.fps))
        frames = [picture_of(dialogue, unit, slice(first - 5, first + 25)) for dialogue in (before, after)]
        assert np.array_equal(frames[0][:5], frames[1][:5])
        changed_HW = np.abs(frames[1][24].astype(int) - frames[0][24]).max(-1) > 20
        assert changed_HW[34:, 44:].mean() > 0.1
        assert changed_HW[:20, :40].mean() < 0.02


def renditions(name: str, unit: Unit) -> tuple[Dialogue, Dialogue]:
    dialogue = KNOWN.dialogue(unit.recorded.interaction)
    return dialogue, again(dialogue, injected(name).rendered(unit))


def voice_of(dialogue: Dialogue, unit: Unit) -> np.ndarray:
    user = unit.recorded.user
    rng = dialogue.noise.generator("sound", user)
    return synthesize(dialogue.persons[user].voice, dialogue.tracks[user].voice_RQ, LAYOUT.sample_rate, rng)


def picture_of(dialogue: Dialogue, unit: Unit, frames: slice) -> np.ndarray:
    tracks, person = dialogue.tracks[unit.recorded.user], dialogue.persons[unit.recorded.user]
    scene_TC = None if tracks.scene_TC is None else tracks.scene_TC[frames]
    return render_face(person.appearance, tracks.face_TP[frames], scene_TC=scene_TC)


@pytest.mark.ci
def test_nothing_is_asked_of_a_world_whose_people_do_no_such_thing() -> None:
    known = references(2)
    for name in ("A4_laugh", "V5_hand"):
        found, partners = units_of(EXPERIMENTS[name], conversations(2), known, layout=LAYOUT, seed=0)
        assert not found
        with pytest.raises(Unavailable, match="no conversation holds a moment"):
            ask(EXPERIMENTS[name], Untouched(), found, partners, level=Level.SEE, free=True, references=known, seed=0)


@pytest.mark.parametrize(
    ("name", "question", "world", "there"),
    [
        ("A4_laugh", 0, QUICKSTART, False),
        ("A4_laugh", 2, QUICKSTART, False),  # a laugh makes its own person smile there, and nobody else
        ("V5_hand", 0, QUICKSTART, False),
        ("V5", 0, QUICKSTART, True),
        ("A4_laugh", 0, CALIBRATED, True),
        ("A4_laugh", 2, CALIBRATED, True),
        ("V5_hand", 0, CALIBRATED, True),
    ],
)
def test_an_edge_is_one_from_the_partner(name: str, question: int, world: str, there: bool) -> None:
    known = references(1, world)
    one = units_of(EXPERIMENTS["A1"], conversations(1, world), known, layout=LAYOUT, seed=0)[0]
    assert has_edge(EXPERIMENTS[name].questions[question], one, known) is there


class Untouched:
    """Arms that nobody may need."""

    def trials(self, experiment: Experiment, units: Sequence[Unit], partners: Sequence[Unit]) -> list[Trial]:
        raise AssertionError(f"{experiment.name} was rolled out for nothing")


@pytest.mark.ci
def test_of_an_avatar_whose_turns_are_given_no_yielding_is_asked() -> None:
    found = ask(
        EXPERIMENTS["V5_hand"], Untouched(), *units("V5_hand"), level=Level.SEE, free=False, references=KNOWN, seed=0
    )
    others = [one for one in asked("oracle") if one.experiment != "V5_hand"]
    table = rows_of_agent("level3", [*found, *others], run_id="t", config_sha="c")
    without = rows_of_agent("level3", others, run_id="t", config_sha="c")
    hand, rest = table[: len(found)], table[len(found) :]
    assert [row["status"] for row in hand] == ["given", "given"]
    assert all(row["effect"] is None and row["passed"] is None and "script" in row["reason"] for row in hand)
    assert rest == without, "what is not asked is no part of the family"


@cache
def unyielding(interaction: str) -> Dialogue:
    graph = calibrated(held_out=True).without(["hand_to_yield"])
    return simulate(int(interaction[-8:]), SECONDS, graph=graph, held_out=True)


class Unyielding(Simulated):
    """The same people, who yield to no hand."""

    def dialogue(self, interaction: str) -> Dialogue:
        return unyielding(interaction)


@pytest.mark.ci
def test_where_the_world_has_no_edge_nothing_may_change() -> None:
    known = Unyielding(**vars(KNOWN))
    heard = [
        replace(one, events=list(known.dialogue(one.interaction).events)) for one in conversations(DYADS, CALIBRATED)
    ]
    experiment = EXPERIMENTS["V5_hand"]
    found, partners = units_of(experiment, heard, known, layout=LAYOUT, seed=0)

    def concluded(dialogue: Callable[[str], Dialogue], units: list[Unit], partners: list[Unit]) -> Answer:
        arms = WorldArms(agent=world_agents(LAYOUT)["oracle"], dialogue=dialogue, layout=LAYOUT, seed=0)
        return ask(experiment, arms, units, partners, level=Level.SEE, free=True, references=known, seed=0)[0]

    true = concluded(known.dialogue, found, partners)
    assert true.expected is Expected.UNCHANGED
    assert true.equivalence is Conclusion.EQUIVALENT
    wrong = concluded(KNOWN.dialogue, *units("V5_hand"))
    assert wrong.equivalence is Conclusion.DIFFERENT, "an avatar that yields all the same"
