"""What a planned test can find: power by the normal approximation, and by simulation from a pilot's dyads.

A test that finds nothing says something only if it would have found what was expected. Cues of one dyad are alike, so
counts of cues are divided by the design effect (Kish 1965), about 1.5 to 2 for reactions in conversation.
"""

from __future__ import annotations

from math import ceil, sqrt
from statistics import NormalDist

import numpy as np

from avatar_lab.evaluation.equivalence import ALPHA
from avatar_lab.evaluation.permutation import Alternative, sign_flip_test
from avatar_lab.evaluation.statistics import Array

_NORMAL = NormalDist()
PILOT_TRIALS, PILOT_DRAWS = 400, 999


def design_effect(cluster_size: float, intraclass_correlation: float) -> float:
    """Variance of a mean over clusters, relative to as many independent cues: 1 + (m - 1) rho."""
    return 1 + (cluster_size - 1) * intraclass_correlation


def power_of_mean(
    effect: float, deviation: float, dyads: int, *, alpha: float = ALPHA, alternative: Alternative = Alternative.GREATER
) -> float:
    """Power to find a mean ``effect`` over ``dyads`` whose effects scatter by ``deviation``."""
    if deviation == 0:
        return float(effect != 0)
    return _power(effect, deviation / sqrt(dyads), alpha, alternative)


def power_of_rates(
    treated: float,
    control: float,
    cues_per_arm: float,
    *,
    design_effect: float = 1.0,
    alpha: float = ALPHA,
    alternative: Alternative = Alternative.TWO_SIDED,
) -> float:
    """Power to tell two probabilities of a response apart, with ``cues_per_arm`` cues in either arm.

    Raises:
        ValueError: a probability lies outside [0, 1], or there are no cues.
    """
    if not (0 <= treated <= 1 and 0 <= control <= 1) or cues_per_arm <= 0:
        raise ValueError(f"rates {treated:g} and {control:g} of {cues_per_arm:g} cues: need probabilities and cues")
    variance = treated * (1 - treated) + control * (1 - control)
    if variance == 0:
        return float(treated != control)
    return _power(treated - control, sqrt(variance * design_effect / cues_per_arm), alpha, alternative)


def power_of_equivalence(deviation: float, dyads: int, margin: float, *, alpha: float = ALPHA) -> float:
    """Power of the two one-sided tests to show that a true effect of 0 is within ``margin``."""
    if deviation == 0:
        return 1.0
    return max(0.0, 2 * _NORMAL.cdf(margin / (deviation / sqrt(dyads)) - _NORMAL.inv_cdf(1 - alpha)) - 1)


def dyads_needed(
    effect: float,
    deviation: float,
    *,
    power: float = 0.9,
    alpha: float = ALPHA,
    alternative: Alternative = Alternative.GREATER,
) -> int:
    """Dyads with which a mean ``effect`` is found with probability ``power``.

    Raises:
        ValueError: no number of dyads finds an effect of 0.
    """
    if effect == 0:
        raise ValueError("no number of dyads finds an effect of 0: state the effect that matters")
    return max(1, ceil(((_critical(alpha, alternative) + _NORMAL.inv_cdf(power)) * deviation / effect) ** 2))


def power_from_pilot(
    pilot_D: Array,
    dyads: int,
    *,
    seed: int,
    alpha: float = ALPHA,
    alternative: Alternative = Alternative.GREATER,
    trials: int = PILOT_TRIALS,
) -> float:
    """Share of simulated experiments with ``dyads`` drawn from the pilot's effects in which sign flips reject.

    Raises:
        ValueError: the pilot has fewer than two dyads.
    """
    pilot_D = pilot_D[np.isfinite(pilot_D)]
    if pilot_D.size < 2:
        raise ValueError(f"a pilot of {pilot_D.size} dyads has no spread to draw from: run at least two")
    rng = np.random.default_rng(seed)
    rejected = [
        sign_flip_test(rng.choice(pilot_D, dyads), seed=trial, draws=PILOT_DRAWS, alternative=alternative) <= alpha
        for trial in range(trials)
    ]
    return float(np.mean(rejected))


def _critical(alpha: float, alternative: Alternative) -> float:
    return _NORMAL.inv_cdf(1 - (alpha / 2 if alternative is Alternative.TWO_SIDED else alpha))


def _power(effect: float, error: float, alpha: float, alternative: Alternative) -> float:
    critical = _critical(alpha, alternative)
    up, down = _NORMAL.cdf(effect / error - critical), _NORMAL.cdf(-effect / error - critical)
    return {Alternative.GREATER: up, Alternative.LESS: down, Alternative.TWO_SIDED: up + down}[alternative]
