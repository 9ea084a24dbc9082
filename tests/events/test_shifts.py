"""Shifts and holds by the rules of Voice Activity Projection, at moments written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from avatar_lab.events.segments import Segment
from avatar_lab.events.shifts import Outcome, ShiftRule, SilentMoment, find_shifts

Speech = dict[str, list[Segment]]


def _kinds(speech: Speech, **rule: float) -> list[tuple[str, str, float, float]]:
    return [(str(m.outcome), m.side, m.start, m.end) for m in find_shifts(speech, ShiftRule(**rule))]


def test_one_of_each() -> None:
    speech: Speech = {"a": [(0.0, 4.0), (4.6, 7.0), (13.0, 15.0)], "b": [(7.5, 10.0), (10.5, 12.5)]}
    assert find_shifts(speech) == [
        SilentMoment(outcome=Outcome.HOLD, side="a", start=4.0, end=4.6, long=True),
        SilentMoment(outcome=Outcome.SHIFT, side="b", start=7.0, end=7.5, long=True),
        SilentMoment(outcome=Outcome.HOLD, side="b", start=10.0, end=10.5, long=True),
        SilentMoment(outcome=Outcome.SHIFT, side="a", start=12.5, end=13.0, long=True),
    ]


@pytest.mark.parametrize(
    ("speech", "why"),
    [
        ({"a": [(0.0, 2.9)], "b": [(3.5, 6.0)]}, "too little was heard before"),
        ({"a": [(0.0, 4.0)], "b": [(4.24, 6.0)]}, "the silence is too short"),
        ({"a": [(0.0, 4.0)], "b": [(3.2, 3.4), (4.5, 6.0)]}, "the other made a sound just before"),
        ({"a": [(0.0, 4.0)], "b": [(4.5, 5.4)]}, "what follows is too short"),
        ({"a": [(0.0, 2.0), (3.1, 4.0)], "b": [(2.2, 2.6), (4.5, 6.0)]}, "what came before is too short"),
        ({"a": [(0.0, 4.0), (5.0, 5.2)], "b": [(4.5, 6.0)]}, "the first one goes on"),
        ({"a": [(0.0, 4.0)], "b": [(3.5, 4.0), (4.5, 6.0)]}, "both stopped at once"),
        ({"a": [(0.0, 4.0), (4.5, 6.0)], "b": [(4.5, 6.0)]}, "both begin at once"),
        ({"a": [(0.0, 4.0)], "b": [(3.8, 6.0)]}, "there is no silence"),
        ({"a": [(0.0, 4.0)], "b": []}, "nobody speaks again"),
        ({"a": [], "b": []}, "nobody speaks"),
    ],
)
def test_what_is_not_plain_is_nothing(speech: Speech, why: str) -> None:
    assert find_shifts(speech) == [], why


def test_bounds_belong_to_what_they_bound() -> None:
    speech: Speech = {"a": [(0.0, 2.0), (2.0, 3.0)], "b": [(1.5, 2.0), (3.25, 4.25)]}
    assert _kinds(speech) == [("shift", "b", 3.0, 3.25)]
    for name in ("min_context", "min_silence", "alone_before", "alone_after"):
        assert _kinds(speech, **{name: getattr(ShiftRule(), name) + 0.01}) == []


def test_pauses_do_not_interrupt_what_somebody_says() -> None:
    """Half a second of speech on either side of the shift, but with pauses that nobody else speaks in."""
    speech: Speech = {"a": [(0.0, 3.0), (3.5, 4.0)], "b": [(4.5, 5.0), (5.3, 6.5)]}
    found = find_shifts(speech)
    assert [(m.outcome, m.start, m.long) for m in found] == [(Outcome.SHIFT, 4.0, False)]
    # the hold at 3.0 has a shift within the second after it; the one at 5.0 within the second before it
    answered: Speech = {"a": speech["a"], "b": [(3.1, 3.4), *speech["b"]]}
    assert find_shifts(answered) == []


def test_short_activity_can_be_taken_for_silence() -> None:
    speech: Speech = {"a": [(0.0, 4.0)], "b": [(3.2, 3.25), (4.5, 6.0)]}
    assert _kinds(speech) == []
    assert _kinds(speech, min_speech=0.06) == [("shift", "b", 4.0, 4.5)]


def test_sides_are_alike() -> None:
    rng = np.random.default_rng(0)
    speech: Speech = {}
    for side in "ab":
        edges = np.cumsum(rng.exponential(1.6, 400)).round(2)
        speech[side] = [(s, e) for s, e in edges.reshape(-1, 2).tolist() if e - s > 0.05]
    found = _kinds(speech)
    assert {kind for kind, *_ in found} == {"shift", "hold"}
    swapped = {"shift": 0, "hold": 0}
    for kind, side, start, end in _kinds({"a": speech["b"], "b": speech["a"]}):
        assert (kind, "b" if side == "a" else "a", start, end) in found
        swapped[kind] += 1
    assert sum(swapped.values()) == len(found) > 20
    for _, _, start, end in found:
        assert not any(s < end - 1e-6 and e > start + 1e-6 for own in speech.values() for s, e in own)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="between two people"):
        find_shifts({"a": []})
    with pytest.raises(ValueError, match=r"min_silence is -0\.1"):
        ShiftRule(min_silence=-0.1)
