"""Outcomes that one dyad alone does not determine: how far a response moves with its cue, and whose cues are answered.

R resamples   D dyads   A arms   N bins of time since the cue
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from avatar_lab.evaluation.cues import Times
from avatar_lab.evaluation.outcomes import CONTROL, Trial, answered, cues_for
from avatar_lab.evaluation.permutation import Indices
from avatar_lab.evaluation.responses import Response
from avatar_lab.evaluation.statistics import Array, Statistic

BIN = 0.08
BEFORE, AFTER = -1.0, 3.2
SMOOTHING = 0.16
"""Seconds; width of the kernel that makes a curve of onsets."""
MAX_SHIFT = 2.0


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Slope of the lag of a response on the delay of its cue: 1 if the response comes just so much later.

    The lag of an arm is that at which its event-locked curve (onsets after cues less those after matched moments) fits
    the control's best; the slope is that of a line through the origin.
    """

    response: Response
    unit: str = "s per s"

    def curves(self, trials: Sequence[Trial], arms: Sequence[str], dyads: Sequence[str]) -> Array:
        """Excess onsets (D, A, N), summed over cues of each dyad."""
        excess_DAN = np.zeros((len(dyads), len(arms), len(_edges()) - 1))
        for trial in trials:
            cues = cues_for(trial, self.response, user=trial.unit, tail=AFTER)
            if not len(cues.cues_N) or not len(cues.controls_M):
                continue
            share = len(cues.cues_N) / len(cues.controls_M)
            for place, arm in enumerate(arms):
                onsets_N = trial.arms[arm].observation.onsets(self.response.behaviours)
                locked_N = _since(onsets_N, cues.cues_N) - share * _since(onsets_N, cues.controls_M)
                excess_DAN[dyads.index(trial.unit.dyad), place] += locked_N
        return gaussian_filter1d(excess_DAN, SMOOTHING / BIN, axis=-1, mode="constant")


def _edges() -> Array:
    return np.linspace(BEFORE, AFTER, round((AFTER - BEFORE) / BIN) + 1, dtype=np.float64)


def _since(onsets_N: Times, times_M: Times) -> Array:
    return np.histogram((onsets_N[None] - times_M[:, None]).ravel(), bins=_edges())[0].astype(np.float64)


def slope_statistic(excess_DAN: Array, delays_A: Array) -> Statistic:
    """Slope of lag on delay, the first arm being the control of delay 0, for the bootstrap over dyads."""

    def statistic(draws_RD: Array) -> Array:
        return _slopes(np.einsum("rd,dan->ran", draws_RD, excess_DAN), delays_A)

    return statistic


def exchanged_slope(excess_DAN: Array, delays_A: Array, places_RDA: Indices) -> Array:
    """The same with arms in other places, for the permutation test."""
    dyads = np.arange(len(excess_DAN))[:, None]
    pooled_RAN = np.stack([excess_DAN[dyads, places_DA].sum(0) for places_DA in places_RDA])
    return _slopes(pooled_RAN, delays_A)


def _slopes(curves_RAN: Array, delays_A: Array) -> Array:
    """NaN where the control shows no response to compare with."""
    reach = round(MAX_SHIFT / BIN)
    shifts = np.arange(-reach // 4, reach + 1)
    control_RN = curves_RAN[:, 0]
    padded_RAN = np.pad(curves_RAN[:, 1:], ((0, 0), (0, 0), (reach, reach)))
    num = curves_RAN.shape[-1]
    fit_SRA = np.stack(
        [np.einsum("rn,ran->ra", control_RN, padded_RAN[..., reach + s : reach + s + num]) for s in shifts]
    )
    lags_RA = shifts[fit_SRA.argmax(0)] * BIN
    slopes_R = lags_RA @ delays_A[1:] / (delays_A[1:] @ delays_A[1:])
    seen_R = ((control_RN**2).sum(-1) > 0) & (fit_SRA.max(0) > 0).all(-1)
    return np.where(seen_R, slopes_R, np.nan)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Contrast at the cues of the own user less that at the cues of everybody else's, from the control arms alone."""

    response: Response
    unit: str = "probability"

    def table(self, trials: Sequence[Trial], dyads: Sequence[str]) -> Array:
        """(D, D): behaviour of the row's avatar at the cues of the column's user, NaN where there are none."""
        total_DD, count_DD = np.zeros((2, len(dyads), len(dyads)))
        for trial in trials:
            seen = trial.arms[CONTROL].observation
            for other in trials:
                if other.unit.conversation.side != trial.unit.conversation.side:
                    continue
                value = answered(seen, self.response, cues_for(trial, self.response, user=other.unit))
                if value is not None:
                    place = dyads.index(trial.unit.dyad), dyads.index(other.unit.dyad)
                    total_DD[place] += value
                    count_DD[place] += 1
        return np.divide(total_DD, count_DD, out=np.full_like(total_DD, np.nan), where=count_DD > 0)


def advantage(table_DD: Array) -> Array:
    """Own cues less the mean of others', (D,); NaN where either is unknown."""
    num = len(table_DD)
    others_DD = np.where(np.eye(num, dtype=bool), np.nan, table_DD)
    known_D = np.isfinite(others_DD).any(1)
    mean_D = np.divide(np.nansum(others_DD, 1), np.isfinite(others_DD).sum(1), out=np.full(num, np.nan), where=known_D)
    return np.diag(table_DD) - mean_D
