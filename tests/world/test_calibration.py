"""The calibrated world against the human table: from its log, and, for what can be heard, from the rendered sound."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from avatar_lab.event_types import EventType
from avatar_lab.events.reactions import overlapping_ipus
from avatar_lab.events.segments import Segment
from avatar_lab.events.turns import find_turns
from avatar_lab.events.vad import detect_speech
from avatar_lab.world.calibrated import calibrated
from avatar_lab.world.calibration import FloorSample, logged_floor, measure_faces, measure_floor
from avatar_lab.world.dialogue import SIDES, Dialogue
from avatar_lab.world.human_table import FLOOR_ROWS, HUMAN_TABLE, Quantity, comparison
from avatar_lab.world.simulate import simulate
from avatar_lab.world.spans import Spans
from avatar_lab.world.voice import synthesize

GRAPH = replace(calibrated(), outages=None)
CONTRADICTED = "overlap share"
"""7.7 transfers a minute, of which 42.9 % overlap by .845 s on average, make 4.7 % of the time, not 2.4 %: the table
counts overlaps in two ways. The world keeps to the first three figures."""
MARKS = {
    CONTRADICTED: pytest.mark.xfail(
        strict=True, reason=f"seen: .045; {7.7 * 0.429 * 0.845 / 60:.3f} follows from three other rows of the table"
    )
}


def _by_row(rows: tuple[Quantity, ...]) -> list[object]:
    return [pytest.param(row, id=row.name, marks=MARKS.get(row.name, ())) for row in rows]


@functools.cache
def _logged(number: int, seconds: float) -> dict[str, float]:
    dialogues = [simulate(seed, seconds, graph=GRAPH) for seed in range(number)]
    values = measure_floor([logged_floor(dialogue) for dialogue in dialogues]) | measure_faces(dialogues)
    print(f"\n{number} conversations of {seconds:.0f} s, from the log\n{comparison(values, HUMAN_TABLE)}")
    return values


@pytest.mark.ci
@pytest.mark.parametrize("row", _by_row(HUMAN_TABLE))
def test_the_world_keeps_to_the_human_table(row: Quantity) -> None:
    value = _logged(60, 600.0)[row.name]
    assert row.met(value), f"{row.name}: {value:.3f}, people {row.figure}, +- {row.tolerance}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("row", _by_row(HUMAN_TABLE))
def test_a_larger_world_keeps_to_the_human_table(row: Quantity) -> None:
    value = _logged(400, 900.0)[row.name]
    assert row.met(value), f"{row.name}: {value:.3f}, people {row.figure}, +- {row.tolerance}"


def test_every_row_has_a_source_and_a_tolerance_and_can_fail() -> None:
    assert len({row.name for row in HUMAN_TABLE}) == len(HUMAN_TABLE) >= 30
    for row in HUMAN_TABLE:
        assert row.tolerance > 0
        assert row.met(row.figure.value + 0.99 * row.tolerance)
        assert not row.met(row.figure.value - 1.01 * row.tolerance)
    text = comparison({"silence share": 0.5, "gap mean": 0.66}, FLOOR_ROWS)
    assert "<- off" in text.splitlines()[2]
    assert "<- off" not in text.splitlines()[1]


def test_the_measure_gives_known_answers() -> None:
    speech = {"a": Spans.of([(0, 4), (9.5, 12)], 20), "b": Spans.of([(5, 10)], 20)}
    sample = FloorSample(
        seconds=20.0,
        turns=[("a", 0, 4), ("b", 5, 10), ("a", 9.5, 12)],
        speech=speech,
        reactions={"a": Spans.of([(6, 6.5)], 20), "b": Spans.of([(13, 14)], 20)},
        pauses=[0.02, 0.3, 0.5],
        backchannels=1,
        interruptions=0,
        laughs=1,
    )
    values = measure_floor([sample])
    assert values["floor-transfer offset mean"] == pytest.approx(0.25)
    assert values["transfers in overlap share"] == 0.5
    assert values["gap mean"] == pytest.approx(1.0)
    assert values["overlap at transfer mean"] == pytest.approx(-0.5)
    assert values["pause mean"] == pytest.approx(0.4), "what is too short to be a pause is none"
    assert values["turn mean"] == pytest.approx((4 + 5 + 2.5) / 3)
    assert values["floor transfers per minute"] == pytest.approx(6)
    assert values["silence share"] == pytest.approx(1 - (4 + 7 + 1) / 20)
    assert values["overlap share"] == pytest.approx(0.5 / 20)
    assert values["balance mean"] == pytest.approx(6.5 / 11.5)


def _heard_floor(dialogue: Dialogue) -> FloorSample:
    """What the detectors make of the rendered sound; of the log they are told the laughs only, as data_prep is."""
    rate, seconds = dialogue.layout.sample_rate, dialogue.seconds
    speech: dict[str, list[Segment]] = {}
    laughs: dict[str, list[Segment]] = {}
    for side in SIDES:
        rng = dialogue.noise.generator("sound", side)
        wav_S = synthesize(dialogue.persons[side].voice, dialogue.tracks[side].voice_RQ, rate, rng)
        speech[side] = detect_speech(wav_S, rate)
        own = [(e.start, e.end) for e in dialogue.of(side, EventType.LAUGH)]
        laughs[side] = overlapping_ipus(speech[side], own)
    floor = find_turns(speech["a"], speech["b"], vocal_reactions=laughs)
    reactions = {side: [*floor.backchannels[side], *laughs[side]] for side in SIDES}
    return FloorSample(
        seconds=seconds,
        turns=[(turn.side, turn.start, turn.end) for turn in floor.turns],
        speech={
            side: Spans.of([ipu for ipu in floor.ipus[side] if ipu not in reactions[side]], seconds) for side in SIDES
        },
        reactions={side: Spans.of(reactions[side], seconds) for side in SIDES},
        pauses=[end - start for side in SIDES for start, end in floor.pauses(side)],
        backchannels=sum(map(len, floor.backchannels.values())),
        interruptions=sum(map(len, floor.interruptions.values())),
        laughs=sum(len(dialogue.of(side, EventType.LAUGH)) for side in SIDES),
    )


@functools.cache
def _heard() -> tuple[dict[str, float], dict[str, float]]:
    """(heard, logged) on the same conversations."""
    dialogues = [simulate(seed, 300.0, graph=GRAPH) for seed in range(8)]
    heard = measure_floor([_heard_floor(dialogue) for dialogue in dialogues])
    logged = measure_floor([logged_floor(dialogue) for dialogue in dialogues])
    print(f"\nheard\n{comparison(heard, FLOOR_ROWS)}\nlogged\n{comparison(logged, FLOOR_ROWS)}")
    return heard, logged


@pytest.mark.ci
@pytest.mark.parametrize(
    ("name", "within"),
    [
        ("silence share", 0.03),
        ("overlap share", 0.02),
        ("floor-transfer offset p50", 0.12),
        ("balance mean", 0.03),
    ],
)
def test_the_detectors_hear_what_the_log_says(name: str, within: float) -> None:
    heard, logged = _heard()
    assert abs(heard[name] - logged[name]) <= within


if __name__ == "__main__":
    np.set_printoptions(precision=3)
    _heard()
