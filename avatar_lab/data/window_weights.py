"""How much each window start of a conversation weighs: by what the index says of every second of it.

The weight of a start is linear in the means of reactions and listening in its window. An order of windows needs the
mean over all starts of every conversation at once, and the weights themselves of the one that is drawn; both are here.

    N (interaction, side) pairs   V seconds of all of them, one after another   S window starts
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_VALUES_AT_ONCE = 1 << 18
"""Seconds whose share in the means is computed at once: what fits into a processor's cache."""


@dataclass(frozen=True, kw_only=True)
class PerSecond:
    """One figure per second of media for many conversations, as the index stores it."""

    value_V: np.ndarray
    span_N2: np.ndarray
    """First and one-past-last of each conversation's seconds."""
    unit: float
    """Of a stored value."""

    def of(self, row: int) -> np.ndarray:
        """Values of one conversation, float64."""
        first, last = self.span_N2[row].tolist()
        return self.value_V[first:last].astype(np.float64) / self.unit


@dataclass(frozen=True, kw_only=True)
class WindowGrid:
    """Windows of one length that start on every block (seconds)."""

    window: float
    block: float

    def means(self, values: np.ndarray, *, starts: int) -> np.ndarray:
        """Mean of ``values`` (one per second, 0 after the last) in every window, (S,)."""
        total = np.concatenate([[0.0], np.cumsum(values)])
        grid, first = np.arange(len(total)), np.arange(starts) * self.block
        return (np.interp(first + self.window, grid, total) - np.interp(first, grid, total)) / self.window

    def mean_of_means(self, figures: PerSecond, *, starts_N: np.ndarray) -> np.ndarray:
        """Mean of :meth:`means` of every conversation, (N,): a weighted sum of its seconds, whose weights only depend
        on its length."""
        count_N = figures.span_N2[:, 1] - figures.span_N2[:, 0]
        base = int(count_N.max()) + 1
        lengths, kind_N = np.unique(starts_N * base + count_N, return_inverse=True)
        by_length = np.split(np.argsort(kind_N, kind="stable"), np.cumsum(np.bincount(kind_N))[:-1])
        mean_N = np.zeros(len(count_N))
        for length, same in zip(lengths.tolist(), by_length, strict=True):
            starts, count = divmod(length, base)
            weight = self._share_of_each(starts, count) / figures.unit
            for rows in np.array_split(same, 1 + len(same) * count // _VALUES_AT_ONCE):
                mean_N[rows] = figures.value_V[figures.span_N2[rows, :1] + np.arange(count)] @ weight
        return mean_N

    def _share_of_each(self, starts: int, count: int) -> np.ndarray:
        """What each of ``count`` seconds contributes to the mean over all starts of the means in their windows."""

        def total_below(edge: np.ndarray) -> np.ndarray:
            """Sum over all starts of the smaller of the start and the edge."""
            below = np.clip(np.ceil(edge / self.block), 0, starts)
            return self.block * below * (below - 1) / 2 + (starts - below) * edge

        edge = np.arange(count + 1, dtype=np.float64)
        covered = np.diff(total_below(edge - self.window)) - np.diff(total_below(edge))
        return covered / (self.window * starts)
