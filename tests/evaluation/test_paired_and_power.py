"""Paired comparison of two checkpoints, and what a planned test can find."""

from __future__ import annotations

import re

import numpy as np
import pytest

from avatar_lab.evaluation.comparisons import Pair
from avatar_lab.evaluation.paired import compare_paired, difference
from avatar_lab.evaluation.permutation import Alternative
from avatar_lab.evaluation.power import (
    design_effect,
    dyads_needed,
    power_from_pilot,
    power_of_equivalence,
    power_of_mean,
    power_of_rates,
)
from avatar_lab.evaluation.statistics import cluster_bootstrap, difference_of_rates, mean_of


def values(numbers: np.ndarray) -> dict[str, float]:
    return {f"d{i:03d}": float(x) for i, x in enumerate(numbers)}


def test_pairing_finds_what_separate_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    first_D = rng.normal(0, 5, 40)
    second_D = first_D + rng.normal(0.3, 0.2, 40)
    found = compare_paired(values(first_D), values(second_D), higher_better=True, seed=0, resamples=2000)
    apart = [cluster_bootstrap(mean_of(x), 40, seed=0, resamples=2000) for x in (first_D, second_D)]
    assert found.difference.low is not None
    assert found.difference.low > 0.2
    assert apart[0].high is not None
    assert apart[1].low is not None
    assert apart[0].high > apart[1].low
    assert found.improvement.value is not None
    assert found.improvement.value > 0.85
    assert found.p is not None
    assert found.p < 0.01


def test_direction_ties_and_missing_dyads() -> None:
    first, second = {"a": 1.0, "b": 2.0, "c": 3.0, "x": 9.0}, {"a": 0.5, "b": 2.0, "c": 1.0, "y": 9.0}
    down = compare_paired(first, second, higher_better=False, seed=0)
    assert down.improvement.value == pytest.approx(2.5 / 3)
    assert down.difference.value == pytest.approx(-2.5 / 3)
    assert down.left_out == 2
    said = str(Pair(first="level2", second="mine", metric="nod_response", comparison=down))
    assert re.match(r"mine - level2  nod_response +-0\.83 \(-2\.00 \.\.\. 0\.00\)", said), said
    assert compare_paired(first, second, higher_better=True, seed=0).improvement.value == pytest.approx(0.5 / 3)
    nothing = compare_paired({"a": 1.0}, {"b": 1.0}, higher_better=True, seed=0)
    assert nothing.p is None
    assert not nothing.difference.defined
    with pytest.raises(ValueError, match="leave such dyads out"):
        compare_paired({"a": np.nan}, {"a": 1.0}, higher_better=True, seed=0)


def test_equal_checkpoints_do_not_differ() -> None:
    same = values(np.random.default_rng(1).normal(size=20))
    found = compare_paired(same, dict(same), higher_better=True, seed=0)
    assert (found.difference.value, found.improvement.value, found.p) == (0.0, 0.5, 1.0)


def test_pooled_statistics_are_compared_on_equal_draws() -> None:
    cues_D = np.array([4.0, 8.0, 2.0, 9.0])
    control_D = np.ones(4)
    one = difference_of_rates(cues_D / 2, cues_D, control_D, cues_D)
    two = difference_of_rates(cues_D, cues_D, control_D, cues_D)
    found = cluster_bootstrap(difference(one, two), 4, seed=0)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_plan_for_reactions() -> None:
    """.45 against .15: 60 cues an arm give more than 90 %; a design effect of 2 needs twice as many."""
    assert power_of_rates(0.45, 0.15, 60) > 0.9
    assert power_of_rates(0.45, 0.15, 60, design_effect=2) < 0.8
    assert power_of_rates(0.45, 0.15, 120, design_effect=2) == pytest.approx(power_of_rates(0.45, 0.15, 60))
    assert design_effect(5, 0.25) == 2
    assert power_of_rates(0.3, 0.3, 100) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="need probabilities and cues"):
        power_of_rates(1.2, 0.1, 10)


def test_power_of_a_mean() -> None:
    """One-sided, effect of one deviation, 9 dyads: z = 3 - 1.645, power .912."""
    assert power_of_mean(1, 1, 9) == pytest.approx(0.9123, abs=1e-3)
    assert power_of_mean(1, 1, 9, alternative=Alternative.LESS) < 1e-5
    assert power_of_mean(0, 1, 9, alternative=Alternative.TWO_SIDED) == pytest.approx(0.05)
    num = dyads_needed(0.5, 1, power=0.9)
    assert power_of_mean(0.5, 1, num) >= 0.9 > power_of_mean(0.5, 1, num - 1)
    with pytest.raises(ValueError, match="effect of 0"):
        dyads_needed(0, 1)


def test_power_of_equivalence() -> None:
    """Error a quarter of the margin: 2 Phi(4 - 1.645) - 1."""
    assert power_of_equivalence(1, 16, 1) == pytest.approx(0.9815, abs=1e-3)
    assert power_of_equivalence(1, 4, 0.1) == 0


def test_simulation_from_a_pilot_agrees_with_the_approximation() -> None:
    pilot_D = np.random.default_rng(2).normal(size=400)
    pilot_D = 0.5 + (pilot_D - pilot_D.mean()) / pilot_D.std()
    for dyads in (12, 24):
        found = power_from_pilot(pilot_D, dyads, seed=0, trials=300)
        assert found == pytest.approx(power_of_mean(0.5, 1, dyads), abs=0.08)
    with pytest.raises(ValueError, match="no spread"):
        power_from_pilot(np.array([1.0]), 10, seed=0)
