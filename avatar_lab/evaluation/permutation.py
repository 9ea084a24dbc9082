"""p-values by permutation: sign flips of dyad effects, exchanged partners, exchanged arms.

A p-value is the share of the relabelled data sets, the observed one included, whose statistic is at least as extreme
(Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39). Where all relabellings are few they are enumerated, so that
small samples give exact values and never one that is smaller than they can support.

    R relabellings   D dyads   A arms
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from avatar_lab.evaluation.statistics import CHUNK, RESAMPLES, Array

Indices = NDArray[np.int64]

ENUMERATED_DYADS = 7
"""Orders of so many partners (5040) are enumerated, of more they are drawn."""
_TOLERANCE = 1e-12
"""Relative; sums in another order differ by less, and ties must count."""


class Alternative(StrEnum):
    """What the effect is if the null hypothesis is false."""

    GREATER = "greater"
    LESS = "less"
    TWO_SIDED = "two_sided"


def sign_flip_test(
    effects_D: Array, *, seed: int, draws: int = RESAMPLES, alternative: Alternative = Alternative.GREATER
) -> float:
    """p-value of the mean effect: under the null the sign of each dyad's effect is arbitrary (Fisher 1935).

    Raises:
        ValueError: no effect is defined.
    """
    effects_D = effects_D[np.isfinite(effects_D)]
    num = effects_D.size
    if num == 0:
        raise ValueError("no defined effects: a permutation test needs at least one dyad")
    exact = num < 63 and 2**num <= draws
    null = [signs_RD @ effects_D / num for signs_RD in (_all_signs(num) if exact else _drawn_signs(num, draws, seed))]
    return _share_as_extreme(np.concatenate(null), float(effects_D.mean()), alternative, observed_included=exact)


def _all_signs(num: int) -> list[Array]:
    bits_RD = (np.arange(2**num)[:, None] >> np.arange(num)) & 1
    return [np.asarray(1 - 2 * bits_RD, dtype=np.float64)]


def _drawn_signs(num: int, draws: int, seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    sizes = [min(CHUNK, draws - start) for start in range(0, draws, CHUNK)]
    return [np.asarray(1 - 2 * rng.integers(0, 2, size=(size, num)), dtype=np.float64) for size in sizes]


def partner_exchange_test(
    scores_DD: Array, *, seed: int, draws: int = RESAMPLES, alternative: Alternative = Alternative.GREATER
) -> float:
    """p-value of the mean score with the true partners, had partners been dealt out at random.

    All permutations of the partners count, not only those that leave nobody with the own one: with those alone the
    truth, which has no pair in common with any of them, stands out too often by chance where dyads are few.

    scores_DD  row: whose behaviour, column: whose cues it is scored at; NaN where undefined, left out of the means

    Raises:
        ValueError: the table is not square, or has fewer than four dyads, whose partners cannot be dealt out in enough
            ways to say anything.
    """
    num = len(scores_DD)
    if scores_DD.shape != (num, num) or num < 4:
        raise ValueError(f"partners are exchanged between at least 4 dyads, in a square table; got {scores_DD.shape}")
    exact = num <= ENUMERATED_DYADS
    orders_RD = _all_orders(num) if exact else _drawn_orders(num, draws, seed)
    null_R = np.nanmean(scores_DD[np.arange(num), orders_RD], axis=1)
    observed = float(np.nanmean(np.diag(scores_DD)))
    centre = float(np.mean(null_R))
    return _share_as_extreme(null_R, observed, alternative, observed_included=exact, centre=centre)


def _all_orders(num: int) -> Indices:
    return np.array(list(permutations(range(num))), dtype=np.int64)


def _drawn_orders(num: int, draws: int, seed: int) -> Indices:
    return np.random.default_rng(seed).permuted(np.tile(np.arange(num), (draws, 1)), axis=1)


def draw_derangements(num: int, draws: int, *, seed: int) -> Indices:
    """``draws`` of them, uniformly, (R, D): permutations with a fixed point are drawn again.

    Raises:
        ValueError: one alone has no partner to exchange.
    """
    if num < 2:
        raise ValueError(f"{num} dyad has no other partner: take at least two")
    rng = np.random.default_rng(seed)
    kept: list[Indices] = []
    missing = draws
    while missing > 0:
        orders_RD = rng.permuted(np.tile(np.arange(num), (3 * missing + 8, 1)), axis=1)
        orders_RD = orders_RD[(orders_RD != np.arange(num)).all(1)][:missing]
        kept.append(orders_RD)
        missing -= len(orders_RD)
    return np.concatenate(kept)


def arm_exchange_test(
    statistic: Callable[[Indices], Array],
    *,
    num_dyads: int,
    num_arms: int,
    seed: int,
    draws: int = RESAMPLES,
    alternative: Alternative = Alternative.GREATER,
) -> float:
    """p-value of a statistic of several arms: under the null the arms of each dyad may change places.

    statistic  which recorded arm stands in the place of each (R, D, A), to the statistic of every relabelling (R,)
    """
    rng = np.random.default_rng(seed)
    places_1DA = np.tile(np.arange(num_arms), (1, num_dyads, 1))
    observed = float(statistic(places_1DA)[0])
    null = []
    for start in range(0, draws, CHUNK):
        size = min(CHUNK, draws - start)
        null.append(statistic(rng.permuted(np.tile(places_1DA, (size, 1, 1)), axis=2)))
    null_R = np.concatenate(null)
    return _share_as_extreme(null_R[np.isfinite(null_R)], observed, alternative, observed_included=False)


def _share_as_extreme(
    null_R: Array, observed: float, alternative: Alternative, *, observed_included: bool, centre: float = 0.0
) -> float:
    """Share of the null at least as extreme as ``observed``, which counts as one of it."""
    slack = _TOLERANCE * max(1.0, abs(observed))
    extreme = {
        Alternative.GREATER: null_R >= observed - slack,
        Alternative.LESS: null_R <= observed + slack,
        Alternative.TWO_SIDED: np.abs(null_R - centre) >= abs(observed - centre) - slack,
    }[alternative]
    more = 0 if observed_included else 1
    return float((extreme.sum() + more) / (len(null_R) + more))
