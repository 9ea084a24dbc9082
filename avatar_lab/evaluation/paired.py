"""Two checkpoints on the same samples, seeds and noise: the difference, its interval, and how often one is better.

Two separate intervals hide what a pair shows: what dyads have in common cancels out. The probability of improvement is
P(second better than first) over dyads, ties counting half (Agarwal et al. 2021, arXiv:2108.13264, there over runs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from avatar_lab.evaluation.permutation import Alternative, sign_flip_test
from avatar_lab.evaluation.statistics import RESAMPLES, Array, Estimate, Statistic, cluster_bootstrap, mean_of

BETTER_BY = 1e-9
"""Relative; differences below it are rounding, and count as ties."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``difference`` is second - first. ``p``: two-sided sign flips over dyads; ``None`` without a common dyad."""

    difference: Estimate
    improvement: Estimate
    p: float | None
    left_out: int
    """Dyads that only one of the two has."""


def compare_paired(
    first: Mapping[str, float],
    second: Mapping[str, float],
    *,
    higher_better: bool,
    seed: int,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Values by dyad of two checkpoints, over the dyads that both have.

    Raises:
        ValueError: a value is not finite; leave undefined ones out.
    """
    for name, values in (("first", first), ("second", second)):
        wrong = [dyad for dyad, value in values.items() if not np.isfinite(value)]
        if wrong:
            raise ValueError(f"the {name} checkpoint has no finite value for {wrong[:3]}: leave such dyads out")
    dyads = sorted(first.keys() & second.keys())
    first_D, second_D = (np.array([values[dyad] for dyad in dyads], dtype=np.float64) for values in (first, second))
    change_D = second_D - first_D
    change_D[np.abs(change_D) <= BETTER_BY * np.maximum(np.abs(first_D), np.abs(second_D))] = 0.0
    wins_D = (np.sign(change_D if higher_better else -change_D) + 1) / 2
    return Comparison(
        difference=cluster_bootstrap(mean_of(change_D), len(dyads), seed=seed, resamples=resamples),
        improvement=cluster_bootstrap(mean_of(wins_D), len(dyads), seed=seed, resamples=resamples),
        p=sign_flip_test(change_D, seed=seed, draws=resamples, alternative=Alternative.TWO_SIDED) if dyads else None,
        left_out=len(first.keys() ^ second.keys()),
    )


def difference(first: Statistic, second: Statistic) -> Statistic:
    """second - first on the same resampled dyads, for statistics that pool over dyads, such as rates of response."""

    def statistic(draws_RD: Array) -> Array:
        return second(draws_RD) - first(draws_RD)

    return statistic
