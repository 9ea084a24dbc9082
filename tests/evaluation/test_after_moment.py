"""Planted behaviour after a moment comes back as pairs and latencies; what a unit does not determine is none."""

from __future__ import annotations

import numpy as np
import pytest

from avatar_lab.evaluation.after_moment import Latency, Occurs, Stops
from avatar_lab.evaluation.observation import Observation
from avatar_lab.evaluation.outcomes import CONTROL, Seen, Trial
from avatar_lab.evaluation.units import whole_unit
from avatar_lab.event_types import EventType
from tests.evaluation.planted import LAYOUT, conversation, event

UNIT = whole_unit(conversation(0, "a"), LAYOUT)
NOW = UNIT.time
NODS = Occurs(behaviours=(EventType.NOD,))


def trial(*, speech: tuple[list, list] = ([], []), nods: tuple[list, list] = ([], [])) -> Trial:
    """Control and treated arm; seconds relative to the moment."""
    arms = {}
    for name, spans, onsets in zip((CONTROL, "treated"), speech, nods, strict=True):
        still_P = np.zeros(1)
        observation = Observation(
            jaw_P=still_P,
            envelope_P=still_P,
            speech=[(NOW + start, NOW + end) for start, end in spans],
            events=[event("d0", "a", EventType.NOD, NOW + t, NOW + t + 0.4) for t in onsets],
        )
        arms[name] = Seen(observation=observation, digest=name)
    return Trial(unit=UNIT, partner=UNIT, arms=arms, layout=LAYOUT, seed=0)


@pytest.mark.parametrize(
    ("onsets", "expected"), [([0.1], 0.0), ([0.3], 1.0), ([0.1, 1.4], 1.0), ([1.6], 0.0), ([-0.5, 2.0], 0.0)]
)
def test_a_behaviour_counts_where_it_begins_in_the_window(onsets: list[float], expected: float) -> None:
    assert NODS.pair(trial(nods=([], onsets)), "treated") == (0.0, expected)


SPEAKS_ON = [(-4.0, 0.6), (1.1, 6.0)]


@pytest.mark.parametrize(
    ("treated", "expected"),
    [
        (SPEAKS_ON, 0.0),
        ([(-4.0, 0.6)], 1.0),
        ([(-4.0, 0.6), (2.0, 6.0)], 1.0),  # it stopped, and began anew after more than a pause
        ([(-4.0, 0.6), (1.1, 1.4)], 1.0),
        ([(-4.0, 0.6), (1.1, 1.8)], 0.0),  # too late
        ([(-4.0, -0.3)], 1.0),  # the control goes on after this pause
    ],
)
def test_who_stops_is_told_from_who_pauses(treated: list, expected: float) -> None:
    assert Stops().pair(trial(speech=(SPEAKS_ON, treated)), "treated") == (0.0, expected)


@pytest.mark.parametrize("control", [[], [(-4.0, -1.5)], [(0.2, 5.0)], [(-4.0, -1.2), (0.3, 5.0)]])
def test_who_does_not_speak_cannot_stop(control: list) -> None:
    assert Stops().pair(trial(speech=(control, control)), "treated") is None
    assert Latency(of=Stops()).pair(trial(speech=(control, control)), "treated") is None


def test_a_latency_is_that_of_what_the_treatment_alone_brought() -> None:
    def latency(nods: tuple[list, list]) -> tuple[float, float] | None:
        return Latency(of=NODS).pair(trial(nods=nods), "treated")

    assert latency(([], [0.7, 1.2])) == (0.0, pytest.approx(0.7))
    assert latency(([0.9], [0.7])) is None, "it would have nodded anyway"
    assert latency(([], [])) is None
    stops = Latency(of=Stops()).pair(trial(speech=(SPEAKS_ON, [(-4.0, 0.9)])), "treated")
    assert stops == (0.0, pytest.approx(0.9))
