"""Does the avatar's motion go with the user's, beyond what two strangers' motions do?

Correlations of smooth signals are rarely small by chance, and their maximum over lags never is: half a minute of
independent motion reaches r = .18 on average within two seconds. So every number here stands beside the same number
where nothing can answer anything: at circular shifts of more than ten seconds (here), or with the user of another dyad
(``pseudo_dyads.py``). All correlations are circular, so that shifted and unshifted ones are computed alike. One
dimension per call; no unit.

    T frames   R circular lags   L lags of interest   W windows of chance lags
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from avatar_lab.evaluation.metric.undefined import Array, Undefined, require_equal_lengths, unfit
from avatar_lab.events.pair_lag import MIN_WINDOWS, circular_correlation

MAX_LAG = 2.0
"""Seconds by which the avatar may follow the user."""
CHANCE_FROM = 10.0


@dataclass(frozen=True, kw_only=True)
class Coupling:
    """Pearson's r of user and avatar; larger ``peak - chance`` is better, as far as the truth's goes.

    zero_lag     r at once
    peak         largest r at a lag from 0 to ``max_lag``, and ``lag_seconds`` by which the avatar then follows
    chance       mean of the same maximum at circular shifts
    p            share of chance maxima that are as large, (1 + k) / (1 + W)
    """

    zero_lag: float
    peak: float
    lag_seconds: float
    chance: float
    p: float
    windows: int


@dataclass(frozen=True, kw_only=True)
class RelativeCorrelation:
    """rPCC, |r(truth, user) - r(made, user)|: at once, and averaged over the lags up to ``max_lag``; lower is better.

    The ``chance`` ones are the means for what was made, shifted circularly: what a made motion that ignores the user
    would score.
    """

    zero_lag: float
    lagged: float
    chance_zero_lag: float
    chance_lagged: float


def coupling(user_T: Array, made_T: Array, *, rate: float, max_lag: float = MAX_LAG) -> Coupling | Undefined:
    """Lagged correlation against circular shifts.

    Undefined: too short for twenty windows of chance lags, a constant curve, values that are not finite.

    Raises:
        ValueError: the shapes differ.
    """
    require_equal_lengths(user=user_T, made=made_T)
    reach = round(max_lag * rate)
    if why := unfit({"user": user_T, "made": made_T}, min_frames=_shortest(rate, reach)):
        return why
    r_R = circular_correlation(user_T, made_T)
    chance_W = _chance(r_R, rate, reach).max(1)
    near_L = r_R[: reach + 1]
    best = int(near_L.argmax())
    return Coupling(
        zero_lag=float(r_R[0]),
        peak=float(near_L[best]),
        lag_seconds=best / rate,
        chance=float(chance_W.mean()),
        p=float((1 + (chance_W >= near_L[best]).sum()) / (1 + len(chance_W))),
        windows=len(chance_W),
    )


def relative_correlation(
    user_T: Array, truth_T: Array, made_T: Array, *, rate: float, max_lag: float = MAX_LAG
) -> RelativeCorrelation | Undefined:
    """rPCC of one dimension (Ng et al. 2022, arXiv:2204.08451, at zero lag and over flattened dimensions, where offsets
    decide; here per dimension, lagged too, and against chance). Undefined as in ``coupling``.

    Raises:
        ValueError: the shapes differ.
    """
    require_equal_lengths(user=user_T, truth=truth_T, made=made_T)
    reach = round(max_lag * rate)
    if why := unfit({"user": user_T, "truth": truth_T, "made": made_T}, min_frames=_shortest(rate, reach)):
        return why
    true_L = circular_correlation(user_T, truth_T)[: reach + 1]
    made_R = circular_correlation(user_T, made_T)
    own_L, chance_WL = np.abs(made_R[: reach + 1] - true_L), np.abs(_chance(made_R, rate, reach) - true_L)
    return RelativeCorrelation(
        zero_lag=float(own_L[0]),
        lagged=float(own_L.mean()),
        chance_zero_lag=float(chance_WL[:, 0].mean()),
        chance_lagged=float(chance_WL.mean()),
    )


def _chance(r_R: Array, rate: float, reach: int) -> Array:
    """Circular correlations in windows as wide as the search, side by side, at least ten seconds from 0, (W, L)."""
    first = round(CHANCE_FROM * rate)
    return sliding_window_view(r_R[first : len(r_R) - first + 1], reach + 1)[:: reach + 1]


def _shortest(rate: float, reach: int) -> int:
    """Frames that leave room for the fewest windows of chance lags."""
    return 2 * round(CHANCE_FROM * rate) + MIN_WINDOWS * (reach + 1)
