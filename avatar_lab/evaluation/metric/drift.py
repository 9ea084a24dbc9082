"""Does a quality wander off in a long rollout? Robust slope of its values in windows of ten seconds.

Theil-Sen (Sen 1968, J. Am. Stat. Assoc. 63): the median of the slopes between all pairs of windows, in units of the
value per minute, with the interval of the rank test on which it rests. 0 is best; drift is shown where the interval
leaves 0 out. The interval takes windows for independent; of values that remember longer than a window it is too narrow,
so the claim about a model rests on the slopes of many conversations, clustered by dyad.

    P frames   W windows
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import theilslopes

from avatar_lab.evaluation.metric.undefined import Array, Undefined

WINDOW_SECONDS = 10.0
MIN_WINDOWS = 6
"""A minute; five windows have no interval at 95 %."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Slope per minute with its 95 % interval, and the medians of the first and last third of the windows."""

    per_minute: float
    low: float
    high: float
    first: float
    last: float
    windows: int

    @property
    def holds_still(self) -> bool:
        """Whether the interval contains 0."""
        return self.low <= 0 <= self.high


def drift(values_W: Array, *, window_seconds: float = WINDOW_SECONDS) -> Drift | Undefined:
    """Drift of values in consecutive windows; windows without a value (NaN) are left out, not closed up.

    Undefined: fewer than six windows with a value, infinite values.
    """
    known_W = ~np.isnan(values_W)
    if known_W.sum() < MIN_WINDOWS:
        return Undefined(f"{int(known_W.sum())} windows of {window_seconds:g} s have a value; {MIN_WINDOWS} are needed")
    if np.isinf(values_W).any():
        return Undefined("a window has an infinite value")
    minutes_W = (np.arange(len(values_W)) + 0.5) * window_seconds / 60
    kept_W = values_W[known_W]
    slope, _, low, high = theilslopes(kept_W, minutes_W[known_W], alpha=0.95)
    third = len(kept_W) // 3
    return Drift(
        per_minute=float(slope),
        low=float(low),
        high=float(high),
        first=float(np.median(kept_W[:third])),
        last=float(np.median(kept_W[-third:])),
        windows=len(kept_W),
    )


def windowed(
    curve_P: Array,
    *,
    rate: float,
    statistic: Callable[[Array], float] = np.mean,
    window_seconds: float = WINDOW_SECONDS,
) -> Array:
    """``statistic`` of a curve at ``rate`` per second in each whole window, (W,); NaN where the curve is not finite."""
    size = round(window_seconds * rate)
    pieces = [curve_P[start : start + size] for start in range(0, len(curve_P) - size + 1, size)]
    return np.array([statistic(piece) if np.isfinite(piece).all() else np.nan for piece in pieces], dtype=np.float64)


def rate_per_window(onsets_N: Array, *, seconds: float, window_seconds: float = WINDOW_SECONDS) -> Array:
    """Events per minute in each whole window of a conversation of ``seconds``, (W,)."""
    windows = int(seconds / window_seconds + 1e-9)
    index_N = np.floor_divide(onsets_N, window_seconds).astype(np.int64)
    return np.bincount(index_N, minlength=windows)[:windows] * 60 / window_seconds
