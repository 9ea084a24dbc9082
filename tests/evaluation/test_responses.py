"""Planted responses come back as numbers; right rates at wrong times score nothing."""

import numpy as np
import pytest

from avatar_lab.evaluation.cues import BLINK, GUARD_SECONDS, PAUSE, SMILE, find_cues, floor_of, inside
from avatar_lab.evaluation.responses import (
    CURVE_BIN,
    RESPONSES,
    count_responses,
    curve_bins,
    event_locked_counts,
    follows,
)
from avatar_lab.event_types import Event, EventType

SECONDS = 240.0


def event(side: str, type: EventType, start: float, end: float) -> Event:
    return Event(interaction="i0", side=side, type=type, start=start, end=end)


def conversation(seed: int) -> list[Event]:
    """The user (b) talks in turns of 20 s with a pause about every 6 s; the avatar (a) answers for 8 s in between."""
    rng = np.random.default_rng(seed)
    events, start = [], 0.0
    while start + 28 < SECONDS:
        events.append(event("b", EventType.TURN, start, start + 20))
        events.append(event("a", EventType.TURN, start + 20, start + 28))
        events += [
            event("b", EventType.PAUSE, t, t + 0.5) for t in start + np.arange(3, 18, 6) + rng.uniform(-0.8, 0.8, 3)
        ]
        start += 28
    events += [event("b", EventType.SMILE, t, t + 2) for t in np.arange(5, SECONDS - 5, 11) + rng.uniform(0, 3)]
    return events


def pooled(onsets_per_seed: dict[int, np.ndarray]) -> float:
    hits = cues = control_hits = controls = 0
    for seed, onsets_N in onsets_per_seed.items():
        counts = count_responses(onsets_N, cues_of(seed))
        hits, cues = hits + counts.hits, cues + counts.cues
        control_hits, controls = control_hits + counts.control_hits, controls + counts.controls
    assert cues > 200
    assert controls > 200
    return hits / cues - control_hits / controls


def cues_of(seed: int):
    return find_cues(conversation(seed), PAUSE, user="b", avatar="a", begin=0, end=SECONDS - 1.5, seed=seed)


def answers(seed: int, probability: float) -> np.ndarray:
    """Onsets .3-1.2 s after the pauses with ``probability``, plus spontaneous ones at any time."""
    rng = np.random.default_rng(1000 + seed)
    pauses = np.array([e.start for e in conversation(seed) if e.type is EventType.PAUSE])
    planted = pauses[rng.random(len(pauses)) < probability]
    return planted + rng.uniform(0.3, 1.2, len(planted))


def test_planted_probability_is_recovered_and_yoked_scores_zero() -> None:
    seeds = range(16)
    assert pooled({seed: answers(seed, 0.8) for seed in seeds}) == pytest.approx(0.8, abs=0.06)
    assert pooled({seed: answers(seed, 0.3) for seed in seeds}) == pytest.approx(0.3, abs=0.07)
    rng = np.random.default_rng(5)
    yoked = {seed: (answers(seed, 0.8) + rng.uniform(0, SECONDS)) % SECONDS for seed in seeds}
    assert abs(pooled(yoked)) < 0.07
    assert pooled({seed: np.zeros(0) for seed in seeds}) == 0


def test_controls_match_the_condition_and_keep_their_distance() -> None:
    events = conversation(0)
    times = cues_of(0)
    pauses = np.array([e.start for e in events if e.type is EventType.PAUSE])
    turns = [(e.start, e.end) for e in events if e.type is EventType.TURN and e.side == "b"]
    assert len(times.controls_M) > len(times.cues_N) > 0
    assert inside(times.controls_M, turns).all()
    assert np.abs(times.controls_M[:, None] - pauses[None]).min() >= GUARD_SECONDS
    again = cues_of(0)
    assert np.array_equal(times.controls_M, again.controls_M)


def test_pauses_count_only_while_the_user_holds_the_floor() -> None:
    events = [
        event("b", EventType.TURN, 0, 20),
        event("a", EventType.TURN, 10, 30),
        event("b", EventType.PAUSE, 5, 6),
        event("b", EventType.PAUSE, 15, 16),
        event("b", EventType.PAUSE, 25, 26),
        event("a", EventType.PAUSE, 7, 8),
    ]
    times = find_cues(events, PAUSE, user="b", avatar="a", begin=0, end=40, seed=0)
    assert times.cues_N.tolist() == [5.0]
    assert floor_of(events, user="b", avatar="a").condition(np.array([5.0, 15.0, 25.0, 35.0])).tolist() == [1, 3, 2, 0]


def test_smiles_count_whoever_speaks() -> None:
    times = find_cues(conversation(1), SMILE, user="b", avatar="a", begin=0, end=SECONDS - 1.5, seed=1)
    expected = sum(e.type is EventType.SMILE and e.start < SECONDS - 1.5 for e in conversation(1))
    assert len(times.cues_N) == expected
    none = find_cues(conversation(1), BLINK, user="b", avatar="a", begin=0, end=SECONDS, seed=1)
    assert len(none.cues_N) == len(none.controls_M) == 0


def test_window_edges() -> None:
    times_M = np.array([10.0])
    assert [bool(follows(np.array([t]), times_M)[0]) for t in (10.1, 10.25, 11.4, 11.6, 9.0)] == [
        False,
        True,
        True,
        False,
        False,
    ]


def test_event_locked_curve_peaks_at_the_planted_delay() -> None:
    cues_M = np.arange(10.0, 200.0, 7.0)
    counts = event_locked_counts(cues_M + 0.7, cues_M)
    peak = curve_bins()[counts.argmax()]
    assert peak <= 0.7 < peak + CURVE_BIN
    assert counts.sum() == len(cues_M)


def test_every_response_names_a_described_metric() -> None:
    from avatar_lab.evaluation.metrics import METRICS

    assert {response.metric for response in RESPONSES} <= set(METRICS)
