"""Mean, quantiles and histogram of a stream of numbers, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class Running:
    """Counts on a grid as fine as the numbers are stored; quantiles are exact to one step of it.

    Args:
        low, high: numbers outside are counted at the edge, and enter the mean as they are.
        step: distance of grid points.

    N grid points
    """

    def __init__(self, *, low: float, high: float, step: float) -> None:
        self._low, self._step = low, step
        self._counts_N = np.zeros(round((high - low) / step) + 1, np.int64)
        self._sum = 0.0

    @property
    def count(self) -> int:
        return int(self._counts_N.sum())

    @property
    def mean(self) -> float:
        return self._sum / self.count

    def add(self, values: Iterable[float]) -> None:
        """Count ``values``."""
        values_n = np.fromiter(values, np.float64)
        place_n = np.clip(np.rint((values_n - self._low) / self._step), 0, len(self._counts_N) - 1).astype(np.int64)
        np.add.at(self._counts_N, place_n, 1)
        self._sum += float(values_n.sum())

    def above(self, threshold: float) -> Running:
        """The numbers above ``threshold``, which lies inside the grid; their mean is that of grid points."""
        return self._part(np.arange(len(self._counts_N)) > round((threshold - self._low) / self._step))

    def below(self, threshold: float) -> Running:
        """The numbers below ``threshold``, likewise."""
        return self._part(np.arange(len(self._counts_N)) < round((threshold - self._low) / self._step))

    def quantile(self, share: float) -> float:
        """The number below which ``share`` of all lie, between order statistics as ``numpy.quantile`` does."""
        position = share * (self.count - 1)
        first = int(position)
        below, above = self._ordered(first), self._ordered(min(first + 1, self.count - 1))
        return below + (above - below) * (position - first)

    def summary(self) -> dict[str, float]:
        """Number, mean and quantiles; empty where nothing was counted."""
        if not self.count:
            return {}
        quantiles = {f"p{percent}": self.quantile(percent / 100) for percent in (10, 50, 90)}
        return {"count": self.count, "mean": self.mean, **quantiles}

    def histogram(self, *, low: float, high: float, bins: int) -> dict[str, float | int | list[int]]:
        """Counts in ``bins`` equal cells from ``low`` to ``high``, and how many lie outside."""
        index = np.arange(len(self._counts_N))
        # A hair inside, so that a number on an edge belongs to the cell that it opens.
        cell_N = np.floor((self._low + (index + 1e-6) * self._step - low) / (high - low) * bins).astype(np.int64)
        inside_N = (cell_N >= 0) & (cell_N < bins)
        counts = np.bincount(cell_N[inside_N], weights=self._counts_N[inside_N], minlength=bins)
        return {
            "low": low,
            "high": high,
            "counts": counts.astype(np.int64).tolist(),
            "below": int(self._counts_N[cell_N < 0].sum()),
            "above": int(self._counts_N[cell_N >= bins].sum()),
        }

    def _part(self, chosen_N: np.ndarray) -> Running:
        part = Running(low=self._low, high=self._low + (len(self._counts_N) - 1) * self._step, step=self._step)
        part._counts_N = np.where(chosen_N, self._counts_N, 0)
        part._sum = float((part._counts_N * (self._low + np.arange(len(chosen_N)) * self._step)).sum())
        return part

    def _ordered(self, rank: int) -> float:
        index = int(np.searchsorted(np.cumsum(self._counts_N), rank, side="right"))
        return self._low + index * self._step
