"""Arithmetic on segments: sorted, disjoint ``(start, end)`` pairs in seconds of media time."""

from __future__ import annotations

import numpy as np

Segment = tuple[float, float]


def runs(active_N: np.ndarray) -> np.ndarray:
    """Start and exclusive end index of every run of True, (runs, 2)."""
    edges = np.diff(active_N.astype(np.int8), prepend=np.int8(0), append=np.int8(0))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def merge_close(segments: list[Segment], *, min_gap: float) -> list[Segment]:
    """Join neighbours whose gap is shorter than ``min_gap``."""
    merged: list[Segment] = []
    for start, end in sorted(segments):
        # Times are multiples of a 10 ms grid held in floats: a gap of exactly min_gap must not merge.
        if merged and start - merged[-1][1] < min_gap - 1e-6:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def without(segments: list[Segment], removed: list[Segment]) -> list[Segment]:
    """Segments that are not in ``removed`` (whole segments, compared by value)."""
    gone = set(removed)
    return [segment for segment in segments if segment not in gone]


def overlap(left: list[Segment], right: list[Segment]) -> list[Segment]:
    """Stretches covered by both."""
    out: list[Segment] = []
    i = j = 0
    while i < len(left) and j < len(right):
        start, end = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if start < end:
            out.append((start, end))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return out


def total(segments: list[Segment]) -> float:
    """Seconds covered."""
    return sum(end - start for start, end in segments)


def covered_seconds(segments: list[Segment], *, rate: float, count: int) -> np.ndarray:
    """Seconds covered within each of ``count`` cells of ``1 / rate`` seconds, (count,); overlapping segments add up."""
    if not segments:
        return np.zeros(count)
    # What is covered up to a time is linear between edges of segments, with as many segments as are open for a slope.
    times = np.asarray(segments, np.float64).reshape(-1)
    order = np.argsort(times, kind="stable")
    knots, open_after = times[order], np.cumsum(np.tile([1, -1], len(segments))[order])
    covered = np.concatenate([[0.0], np.cumsum(np.diff(knots) * open_after[:-1])])
    return np.diff(np.interp(np.arange(count + 1) / rate, knots, covered))


def to_mask(segments: list[Segment], *, rate: float, count: int) -> np.ndarray:
    """True in every cell of ``1 / rate`` seconds that a segment touches, (count,) bool."""
    return covered_seconds(segments, rate=rate, count=count) > 1e-6
