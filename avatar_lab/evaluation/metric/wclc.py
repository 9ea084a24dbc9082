"""Windowed cross-lagged correlation: do user and avatar move together for moments, now one ahead, now the other?

In windows of seven seconds the correlation at every lag within two seconds, and of each window its highest positive
peak (Boker et al. 2002, Psychological Methods 7, who take the one nearest to lag 0: in motion that is not smoothed,
that is noise). Riehle et al. 2017 (J. Nonverbal Behavior 41) found smiles, not frowns, of 30 dyads in synchrony above
chance by it, mostly within a second. Chance is shown by circular shifts of the avatar by more than ten seconds;
pseudo-dyads are another call with another user.

    T frames   W windows   L lags   N frames of a window   S circular shifts
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from avatar_lab.evaluation.metric.undefined import STILL, Array, Undefined, require_equal_lengths, unfit

CHANCE_FROM = 10.0
SHIFTS = 39
"""Equally many seconds apart; the smallest p is 1 / 40."""
MIN_SECONDS = 40.0
_NEIGHBOURS = 0.2
"""Seconds around a peak in which no lag may have a larger correlation."""


@dataclass(frozen=True, kw_only=True)
class WindowedCoupling:
    """Strength of synchrony, in Fisher's z; larger ``strength - chance`` is better, as far as the truth's goes.

    strength     mean over windows of artanh(r) at the peak, 0 where a window has no positive peak
    chance, p    its mean at circular shifts, and the share of shifts with a strength as large
    lag_seconds  median lag of the peaks, positive where the avatar follows
    share        share of windows that have a peak
    """

    strength: float
    chance: float
    p: float
    lag_seconds: float | Undefined
    share: float
    windows: int


def windowed_coupling(
    user_T: Array, made_T: Array, *, rate: float, window: float = 7.0, max_lag: float = 2.0, step: float = 1.0
) -> WindowedCoupling | Undefined:
    """WCLC of one dimension each; ``window``, ``max_lag`` and ``step`` in seconds.

    Undefined: less than 40 s, a constant curve, values that are not finite, no window in which both move.

    Raises:
        ValueError: the shapes differ.
    """
    require_equal_lengths(user=user_T, made=made_T)
    if why := unfit({"user": user_T, "made": made_T}, min_frames=round(MIN_SECONDS * rate)):
        return why
    size, reach, hop = round(window * rate), round(max_lag * rate), round(step * rate)
    around = 2 * round(_NEIGHBOURS * rate) + 1
    lag_L = np.arange(-reach, reach + 1)
    start_W = np.arange(reach, len(user_T) - size - reach + 1, hop)
    r_WT = _correlations(user_T, made_T, start_W, size)

    def peaks(shift: int) -> tuple[Array, Array]:
        """Of the avatar shifted by so many frames: each of its windows is one that the unshifted has elsewhere."""
        place_WL = (start_W[:, None] + lag_L - shift) % len(made_T)
        return _peaks(np.take_along_axis(r_WT, place_WL, axis=1), lag_L, around=around)

    z_W, lag_W = peaks(0)
    if len(z_W) == 0:
        return Undefined("user and avatar move together in no window")
    shifts = np.linspace(CHANCE_FROM * rate, len(made_T) - CHANCE_FROM * rate, SHIFTS).round().astype(int)
    chance = [null_W.mean() if len(null_W) else 0.0 for null_W, _ in map(peaks, shifts)]
    strength, found_W = float(z_W.mean()), z_W > 0
    return WindowedCoupling(
        strength=strength,
        chance=float(np.mean(chance)),
        p=float((1 + (np.array(chance) >= strength).sum()) / (1 + SHIFTS)),
        lag_seconds=float(np.median(lag_W[found_W]) / rate) if found_W.any() else Undefined("no window has a peak"),
        share=float(found_W.mean()),
        windows=len(z_W),
    )


def _correlations(user_T: Array, made_T: Array, start_W: NDArray[np.int64], size: int) -> Array:
    """Pearson's r (W, T) of the user's windows from ``start_W`` on with all windows of the avatar, taken as a circle; 0
    where one of the two is at rest."""
    user_WN = _standardised(sliding_window_view(user_T, size)[start_W], np.abs(user_T).max())
    circle_T = np.concatenate([made_T, made_T[: size - 1]])
    made_TN = _standardised(sliding_window_view(circle_T, size), np.abs(made_T).max())
    return user_WN @ made_TN.T / size


def _peaks(r_WL: Array, lag_L: NDArray[np.int64], *, around: int) -> tuple[Array, Array]:
    """Fisher's z and lag in frames of each window's peak, both (W,), 0 without a peak; windows at rest are left out."""
    r_WL = r_WL[r_WL.any(1)]
    is_peak_WL = (maximum_filter1d(r_WL, around, axis=1, mode="nearest") == r_WL) & (r_WL > 0)
    is_peak_WL[:, [0, -1]] = False  # what still grows at the edge of the search is no peak
    best_W, rows = np.where(is_peak_WL, r_WL, 0.0).argmax(1), np.arange(len(r_WL))
    found_W = is_peak_WL[rows, best_W]
    z_W = np.arctanh(np.where(found_W, r_WL[rows, best_W], 0.0).clip(max=1 - 1e-6))
    return z_W, np.where(found_W, lag_L[best_W], 0).astype(np.float64)


def _standardised(x_WN: Array, size: float) -> Array:
    """Zero mean and unit variance per window; zeros where a window does not move."""
    x_WN = x_WN - x_WN.mean(1, keepdims=True)
    spread_W1 = x_WN.std(1, keepdims=True)
    return np.divide(x_WN, spread_W1, out=np.zeros_like(x_WN), where=spread_W1 > STILL * size)
