"""Intervals whose unit is the dyad: width, coverage, degenerate input."""

import numpy as np
import pytest

from avatar_lab.evaluation.permutation import sign_flip_test
from avatar_lab.evaluation.statistics import cluster_bootstrap, difference_of_rates, mean_of


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        people_D = rng.beta(4, 4, size=32)  # dyads differ, so that ignoring clusters would give intervals too narrow
        cues_D = rng.integers(4, 13, size=32)
        hits_D = rng.binomial(cues_D, people_D).astype(float)
        control_D = rng.binomial(cues_D, 0.2).astype(float)
        trials_D = cues_D.astype(float)
        estimate = cluster_bootstrap(
            difference_of_rates(hits_D, trials_D, control_D, trials_D), 32, seed=trial, resamples=500
        )
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= 0.5 - 0.2 <= estimate.high
    assert 0.89 <= covered / 300 <= 0.985


def test_dyads_not_cues_are_resampled() -> None:
    values_D = np.array([0.0, 0.0, 1.0, 1.0])
    few = cluster_bootstrap(mean_of(values_D, np.full(4, 2.0)), 4, seed=0)
    many = cluster_bootstrap(mean_of(values_D, np.full(4, 2000.0)), 4, seed=0)
    assert few == many
    assert many.low == 0
    assert many.high == 1


def test_weights_pool_cues() -> None:
    estimate = cluster_bootstrap(mean_of(np.array([1.0, 0.0]), np.array([3.0, 1.0])), 2, seed=0)
    assert estimate.value == pytest.approx(0.75)


def test_same_seed_same_interval() -> None:
    values_D = np.random.default_rng(1).normal(size=20)
    assert cluster_bootstrap(mean_of(values_D), 20, seed=3) == cluster_bootstrap(mean_of(values_D), 20, seed=3)
    assert cluster_bootstrap(mean_of(values_D), 20, seed=3) != cluster_bootstrap(mean_of(values_D), 20, seed=4)


def test_degenerate_input_gives_no_number() -> None:
    assert not cluster_bootstrap(mean_of(np.zeros(0)), 0, seed=0).defined
    zero = np.zeros(3)
    assert not cluster_bootstrap(difference_of_rates(zero, zero, zero, zero), 3, seed=0).defined
    single = cluster_bootstrap(mean_of(np.ones(1)), 1, seed=0)
    assert single.value == 1
    assert single.low is None


def test_sign_flip_test_holds_its_level_and_finds_effects() -> None:
    rng = np.random.default_rng(2)
    rejected = sum(sign_flip_test(rng.normal(size=24), seed=i, draws=500) < 0.05 for i in range(200))
    assert 2 <= rejected <= 20
    assert sign_flip_test(rng.normal(1.0, size=24), seed=0, draws=500) < 0.01
    with pytest.raises(ValueError, match="no defined effects"):
        sign_flip_test(np.array([np.nan]), seed=0)
