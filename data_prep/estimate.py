"""Totals from samples, with intervals: mean and ratio estimator (Cochran, Sampling Techniques, 1977, ch. 2 and 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.9
"""Of every interval here."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value and half the width of its interval."""

    value: float
    spread: float = 0.0

    @property
    def low(self) -> float:
        return max(0.0, self.value - self.spread)

    @property
    def high(self) -> float:
        return self.value + self.spread

    def __add__(self, other: Estimate) -> Estimate:
        """Errors of parts of one cost go together: the slow machine is slow in all of them."""
        return Estimate(value=self.value + other.value, spread=self.spread + other.spread)

    def scaled(self, factor: float) -> Estimate:
        return Estimate(value=self.value * factor, spread=self.spread * factor)

    def times(self, other: Estimate) -> Estimate:
        """Product of independent estimates, to first order."""
        spread = math.hypot(self.spread * other.value, other.spread * self.value)
        return Estimate(value=self.value * other.value, spread=spread)

    def to_plain(self) -> dict[str, float]:
        """As JSON holds it."""
        return {"value": self.value, "low": self.low, "high": self.high}


def total_of(sample: Sequence[float], *, population: int) -> Estimate:
    """Total over ``population`` items of which ``sample`` was measured; exact where that is all of them."""
    count = len(sample)
    if count == 0:
        return Estimate(value=0.0)
    value = float(np.mean(sample)) * population
    if count >= population:
        return Estimate(value=value)
    if count == 1:
        return Estimate(value=value, spread=value)
    error = float(np.std(sample, ddof=1)) * population * math.sqrt((1 - count / population) / count)
    return Estimate(value=value, spread=_quantile(count) * error)


def ratio_of(costs: Sequence[float], sizes: Sequence[float], *, population: int) -> Estimate:
    """Cost per unit of size, from items whose cost and size are known.

    With one item there is no spread to be seen: the interval then reaches from nothing to twice the value.
    """
    total = float(sum(sizes))
    if total <= 0:
        return Estimate(value=0.0)
    value, count = float(sum(costs)) / total, len(costs)
    if count == 1:
        return Estimate(value=value, spread=0.0 if population <= 1 else value)
    residuals = np.asarray(costs) - value * np.asarray(sizes)
    unseen = max(0.0, 1 - count / max(count, population))
    error = math.sqrt(unseen * float(np.sum(residuals**2)) / (count - 1) / count) / (total / count)
    return Estimate(value=value, spread=_quantile(count) * error)


def _quantile(count: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))
