"""Laws of delays and durations, drawn by their quantile function.

One uniform number gives one delay, so two worlds that differ elsewhere, or whose laws differ slightly, stay comparable
event by event; ``cdf`` is what a test compares an event log with.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log
from statistics import NormalDist


@dataclass(frozen=True, kw_only=True)
class Law:
    """A normal or lognormal law in seconds, truncated to [low, high]."""

    centre: float
    """Mean of the normal, median of the lognormal (before truncation)."""
    spread: float
    """Standard deviation of the normal in seconds, of the logarithm for the lognormal."""
    low: float
    high: float
    lognormal: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high or self.spread <= 0:
            raise ValueError(f"law needs 0 <= low < high and spread > 0, got {self}")

    def quantile(self, uniform: float) -> float:
        law = self._normal()
        below, above = law.cdf(self._scale(self.low)), law.cdf(self._scale(self.high))
        value = law.inv_cdf(min(max(below + uniform * (above - below), 1e-12), 1 - 1e-12))
        return min(max(self._unscale(value), self.low), self.high)

    def cdf(self, seconds: float) -> float:
        law = self._normal()
        below, above = law.cdf(self._scale(self.low)), law.cdf(self._scale(self.high))
        inside = min(max(seconds, self.low), self.high)
        return (law.cdf(self._scale(inside)) - below) / (above - below)

    def _normal(self) -> NormalDist:
        return NormalDist(self._scale(self.centre), self.spread)

    def _scale(self, seconds: float) -> float:
        return (log(seconds) if seconds > 0 else -inf) if self.lognormal else seconds

    def _unscale(self, value: float) -> float:
        return exp(value) if self.lognormal else value
