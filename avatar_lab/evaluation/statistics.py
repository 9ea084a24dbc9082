"""Intervals whose unit is the dyad.

Cues of one conversation share its two people, so they are not independent; conversations are. The cluster bootstrap
draws whole dyads with replacement (Field & Welsh 2007, J. R. Stat. Soc. B 69) and takes percentiles of the statistic.
Resampling is a matrix of multinomial weights, so a statistic that is built from weighted sums is one matrix product.

    R resamples   D dyads
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Weights (R, D), how often each dyad counts, to the statistic of every resample (R,)."""

RESAMPLES = 10_000
CHUNK = 2_000
KEPT_NUMBERS = 2_000_000
"""Draws of up to so many numbers (16 MB) stay in memory."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval; ``None`` where it is undefined (no dyad contributes)."""

    value: float | None
    low: float | None
    high: float | None
    dyads: int

    @property
    def defined(self) -> bool:
        return self.value is not None


def mean_of(values_D: Array, weights_D: Array | None = None) -> Statistic:
    """Weighted mean over dyads; ``weights_D`` are for instance the numbers of cues behind each value."""
    base_D = np.ones_like(values_D) if weights_D is None else weights_D

    def statistic(draws_RD: Array) -> Array:
        return _ratio(draws_RD @ (values_D * base_D), draws_RD @ base_D)

    return statistic


def difference_of_rates(hits_D: Array, trials_D: Array, control_hits_D: Array, control_trials_D: Array) -> Statistic:
    """Pooled P(hit | trial) - P(hit | control)."""

    def statistic(draws_RD: Array) -> Array:
        return _ratio(draws_RD @ hits_D, draws_RD @ trials_D) - _ratio(
            draws_RD @ control_hits_D, draws_RD @ control_trials_D
        )

    return statistic


def cluster_bootstrap(
    statistic: Statistic, num_dyads: int, *, seed: int, resamples: int = RESAMPLES, confidence: float = 0.95
) -> Estimate:
    """Value on all dyads and percentile interval. One dyad gives no interval, no dyad no value."""
    return bootstrap(statistic, num_dyads, seed=seed, resamples=resamples, confidence=confidence)[0]


def bootstrap(
    statistic: Statistic, num_dyads: int, *, seed: int, resamples: int = RESAMPLES, confidence: float = 0.95
) -> tuple[Estimate, Array]:
    """The same, and the finite draws (R,) behind the interval; none where there is no interval."""
    nothing = np.zeros(0)
    if num_dyads == 0:
        return Estimate(value=None, low=None, high=None, dyads=0), nothing
    value = float(statistic(np.ones((1, num_dyads)))[0])
    if not np.isfinite(value):
        return Estimate(value=None, low=None, high=None, dyads=num_dyads), nothing
    if num_dyads == 1:
        return Estimate(value=value, low=None, high=None, dyads=1), nothing
    draws_R = resample(statistic, num_dyads, seed=seed, resamples=resamples)
    draws_R = draws_R[np.isfinite(draws_R)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws_R, [tail, 1 - tail])
    return Estimate(value=value, low=float(low), high=float(high), dyads=num_dyads), draws_R


def resample(statistic: Statistic, num_dyads: int, *, seed: int, resamples: int = RESAMPLES) -> Array:
    """The bootstrap distribution itself, (R,). Equal seeds draw equal dyads, so two agents can be compared paired."""
    few = num_dyads * resamples <= KEPT_NUMBERS
    draws = _kept_draws(num_dyads, seed, resamples) if few else _draws(num_dyads, seed, resamples)
    return np.concatenate([statistic(draws_RD) for draws_RD in draws])


def _draws(num_dyads: int, seed: int, resamples: int) -> Iterator[Array]:
    """How often each dyad counts in each resample, in pieces (R, D)."""
    rng = np.random.default_rng(seed)
    share_D = np.full(num_dyads, 1 / num_dyads)
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        draws_RD = rng.multinomial(num_dyads, share_D, size=size).astype(np.float64)
        draws_RD.setflags(write=False)
        yield draws_RD


@lru_cache(maxsize=4)
def _kept_draws(num_dyads: int, seed: int, resamples: int) -> tuple[Array, ...]:
    """The same, kept for the next metric: drawing takes ten times as long as a statistic of what was drawn."""
    return tuple(_draws(num_dyads, seed, resamples))


def _ratio(numerator_R: Array, denominator_R: Array) -> Array:
    """Quotient, NaN where nothing was counted."""
    return np.divide(numerator_R, denominator_R, out=np.full_like(numerator_R, np.nan), where=denominator_R > 0)
