"""Equivalence, non-inferiority and families of tests: known answers, level at the margin, traps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from avatar_lab.evaluation.equivalence import MIN_DYADS, Conclusion, Equivalence, equivalence_test
from avatar_lab.evaluation.multiplicity import holm
from avatar_lab.evaluation.statistics import Array, cluster_bootstrap, mean_of


def judged(effects_D: Array, *, margin: float = 0.05, low: float | None = None, seed: int = 0) -> Equivalence:
    return equivalence_test(
        mean_of(effects_D),
        len(effects_D),
        low_margin=-margin if low is None else low,
        high_margin=margin,
        seed=seed,
        resamples=500,
        largest_effect=1.0,
    )


def test_small_tight_effects_are_equivalent_and_others_are_not() -> None:
    noise_D = np.random.default_rng(0).normal(size=40)
    noise_D = (noise_D - noise_D.mean()) / noise_D.std()
    assert judged(0.05 * noise_D).conclusion is Conclusion.EQUIVALENT
    assert judged(0.5 * noise_D).conclusion is Conclusion.INCONCLUSIVE
    assert judged(0.3 + 0.1 * noise_D).conclusion is Conclusion.DIFFERENT
    assert judged(-0.3 + 0.1 * noise_D).conclusion is Conclusion.DIFFERENT
    assert judged(0.3 + 0.1 * noise_D).p == pytest.approx(1, abs=0.01)


def test_an_effect_at_the_margin_is_called_equivalent_at_the_level() -> None:
    rng, trials = np.random.default_rng(1), 200
    conclusions = [judged(0.05 + rng.normal(0, 0.05, 40), seed=i).conclusion for i in range(trials)]
    found = conclusions.count(Conclusion.EQUIVALENT)
    assert found <= binom.ppf(0.999, trials, 0.05)
    assert found >= binom.ppf(0.001, trials, 0.025)


def test_conclusion_and_p_agree() -> None:
    rng = np.random.default_rng(2)
    for trial in range(30):
        found = judged(rng.normal(0.02, 0.08, 30), seed=trial)
        assert found.p is not None
        if abs(found.p - 0.05) > 0.008:  # quantiles between two resamples
            assert (found.p < 0.05) == (found.conclusion is Conclusion.EQUIVALENT)


def test_non_inferiority_allows_any_gain() -> None:
    gain_D = np.random.default_rng(3).normal(0.5, 0.1, 20)
    found = equivalence_test(mean_of(gain_D), 20, low_margin=-0.05, high_margin=np.inf, seed=0)
    assert found.conclusion is Conclusion.EQUIVALENT
    worse = equivalence_test(mean_of(-gain_D), 20, low_margin=-0.05, high_margin=np.inf, seed=0)
    assert worse.conclusion is Conclusion.DIFFERENT


def test_nothing_seen_is_not_nothing_there() -> None:
    """Of 20 dyads without any event up to 1 - .05 ** (1 / 20) = 14 % may have one; 60 dyads suffice for .05."""
    few = judged(np.zeros(20))
    assert few.conclusion is Conclusion.INCONCLUSIVE
    assert few.interval.high == pytest.approx(1 - 0.05**0.05)
    assert judged(np.zeros(60)).conclusion is Conclusion.EQUIVALENT
    same = equivalence_test(mean_of(np.zeros(20)), 20, low_margin=-0.05, high_margin=0.05, seed=0)
    assert same.conclusion is Conclusion.EQUIVALENT, "equal by construction"


def test_too_few_dyads_prove_nothing() -> None:
    assert judged(np.full(MIN_DYADS - 1, 1e-9), margin=2).conclusion is Conclusion.INCONCLUSIVE
    assert judged(np.zeros(0)).p is None
    assert judged(np.zeros(1)).conclusion is Conclusion.INCONCLUSIVE
    with pytest.raises(ValueError, match="enclose no effect"):
        judged(np.zeros(8), low=0.2)


def test_bootstrap_covers_the_mean_of_gaussian_dyads() -> None:
    rng, trials = np.random.default_rng(4), 300
    covered = 0
    for trial in range(trials):
        found = cluster_bootstrap(mean_of(rng.normal(1.0, 2.0, 40)), 40, seed=trial, resamples=400)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1.0 <= found.high
    low, high = binom.interval(0.999, trials, 0.935)  # percentile intervals of 40 dyads: 93.5 % where 95 % is said
    assert low <= covered <= high


def test_holm_by_hand() -> None:
    """.01 x 4, .02 x 3, .03 x 2 and .04, never smaller than the one before."""
    found = holm({"a": 0.03, "b": 0.01, "c": 0.04, "d": 0.02}, ["a", "b", "c", "d"])
    assert found == pytest.approx({"a": 0.06, "b": 0.04, "c": 0.06, "d": 0.06})
    assert holm({"a": 0.01}, ["a", "b", "c"]) == {"a": pytest.approx(0.03), "b": None, "c": None}
    assert holm({"a": 0.9, "b": 0.8}, ["a", "b"]) == {"a": 1, "b": 1}


def test_families_are_fixed_before() -> None:
    with pytest.raises(ValueError, match="not listed"):
        holm({"late": 0.01}, ["a"])
    with pytest.raises(ValueError, match="twice"):
        holm({}, ["a", "a"])


def test_holm_keeps_the_chance_of_any_false_rejection() -> None:
    rng, trials = np.random.default_rng(5), 2000
    family = [f"t{i}" for i in range(10)]
    false = 0
    for _ in range(trials):
        adjusted = holm(dict(zip(family, rng.uniform(size=10), strict=True)), family)
        false += any(p is not None and p <= 0.05 for p in adjusted.values())
    assert binom.ppf(0.001, trials, 0.03) <= false <= binom.ppf(0.999, trials, 0.05)
