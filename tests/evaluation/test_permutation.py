"""Permutation tests: exact values by hand, level under the null (binomial bounds), power against an effect."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from avatar_lab.evaluation.permutation import (
    Alternative,
    arm_exchange_test,
    draw_derangements,
    partner_exchange_test,
    sign_flip_test,
)

ALPHA = 0.05


def rejects_at_its_level(p_of: Callable[[int], float], trials: int = 200) -> bool:
    """A/A: rejections are binomial with the nominal level; bounds of 99.9 %."""
    rejected = sum(p_of(trial) <= ALPHA for trial in range(trials))
    low, high = binom.interval(0.999, trials, ALPHA)
    return bool(low <= rejected <= high)


def test_few_dyads_are_enumerated() -> None:
    """Of the 8 signings of (1, 2, 3): one reaches 6, two reach 4 = 6 - 2."""
    effects_D = np.array([1.0, 2.0, 3.0])
    assert sign_flip_test(effects_D, seed=0) == 1 / 8
    assert sign_flip_test(-effects_D, seed=0) == 1
    assert sign_flip_test(-effects_D, seed=0, alternative=Alternative.LESS) == 1 / 8
    assert sign_flip_test(effects_D, seed=0, alternative=Alternative.TWO_SIDED) == 2 / 8
    assert sign_flip_test(np.array([-1.0, 2.0, 3.0]), seed=0) == 2 / 8
    assert sign_flip_test(np.zeros(20), seed=0, draws=100) == 1


@pytest.mark.parametrize("alternative", list(Alternative))
@pytest.mark.parametrize("num", [9, 24])
def test_sign_flips_reject_at_their_level(alternative: Alternative, num: int) -> None:
    rng = np.random.default_rng(num)
    samples = rng.standard_t(3, size=(200, num))
    assert rejects_at_its_level(lambda i: sign_flip_test(samples[i], seed=i, draws=300, alternative=alternative))


def test_direction_matters() -> None:
    effects_D = np.random.default_rng(1).normal(0.8, 1, size=24)
    assert sign_flip_test(effects_D, seed=0) < 0.01
    assert sign_flip_test(effects_D, seed=0, alternative=Alternative.LESS) > 0.95
    assert sign_flip_test(effects_D, seed=0, alternative=Alternative.TWO_SIDED) < 0.02
    assert sign_flip_test(-effects_D, seed=0, alternative=Alternative.LESS) < 0.01


def test_derangements_leave_nobody_with_the_own_partner() -> None:
    drawn_RD = draw_derangements(4, 9000, seed=0)
    assert (drawn_RD != np.arange(4)).all()
    assert (np.sort(drawn_RD, axis=1) == np.arange(4)).all()
    _, counts = np.unique(drawn_RD, axis=0, return_counts=True)
    assert len(counts) == 9
    assert np.abs(counts - 1000).max() < 120, "each is drawn equally often"
    with pytest.raises(ValueError, match="no other partner"):
        draw_derangements(1, 3, seed=0)


@pytest.mark.parametrize("num", [5, 24])
def test_exchanged_partners_reject_at_their_level(num: int) -> None:
    """Scores share the effects of their rows and columns, as those of real people do, but no pair is special."""
    rng = np.random.default_rng(num)
    tables = [rng.normal(size=(num, num)) + rng.normal(size=(num, 1)) + rng.normal(size=num) for _ in range(200)]
    assert rejects_at_its_level(lambda i: partner_exchange_test(tables[i], seed=i, draws=200))


def test_true_partners_are_found() -> None:
    rng = np.random.default_rng(3)
    scores_DD = rng.normal(size=(12, 12)) + 5 * rng.normal(size=(12, 1)) + 1.5 * np.eye(12)
    assert partner_exchange_test(scores_DD, seed=0, draws=999) < 0.01
    assert partner_exchange_test(scores_DD, seed=0, draws=999, alternative=Alternative.LESS) > 0.9
    assert partner_exchange_test(np.eye(4), seed=0) == 1 / 24, "one of all orders"
    with pytest.raises(ValueError, match="at least 4 dyads"):
        partner_exchange_test(np.eye(3), seed=0)


def test_arms_that_differ_are_told_from_arms_that_do_not() -> None:
    rng = np.random.default_rng(4)

    def p_of(values_DA: np.ndarray) -> float:
        dyads = np.arange(len(values_DA))[None, :, None]

        def slope(places_RDA: np.ndarray) -> np.ndarray:
            return values_DA[dyads, places_RDA].mean(1) @ np.array([-1.0, 0.0, 1.0])

        return arm_exchange_test(slope, num_dyads=len(values_DA), num_arms=3, seed=0, draws=300)

    assert p_of(rng.normal(size=(10, 3)) + np.array([0, 1, 2.0])) < 0.01
    null = rng.normal(size=(200, 8, 3))
    assert rejects_at_its_level(lambda i: p_of(null[i]))
