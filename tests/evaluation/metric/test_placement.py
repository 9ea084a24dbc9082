"""Planted reactions are found in their places; busy and random avatars gain nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar_lab.evaluation.metric.placement import placement, placement_auc
from tests.evaluation.metric.signals import defined, reason

TRUTH_M = np.arange(5.0, 600, 6)
ELSEWHERE_K = TRUTH_M + 3


def test_planted_precision_and_recall() -> None:
    made_N = np.concatenate([TRUTH_M[:60] + 0.3, TRUTH_M[:30] + 2.5])
    found = defined(placement(made_N, TRUTH_M))
    assert found.matches == 60
    assert found.precision == pytest.approx(60 / 90)
    assert found.recall == pytest.approx(60 / len(TRUTH_M))


def test_matching_is_one_to_one() -> None:
    found = defined(placement(np.array([9.8, 10.0, 10.2]), np.array([10.0])))
    assert found.matches == 1
    assert found.precision == pytest.approx(1 / 3)
    chain = defined(placement(np.array([1.0, 1.5]), np.array([1.4, 1.9])))  # the first must not take the second's
    assert chain.matches == 2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=8), st.lists(st.integers(0, 40), max_size=8))
def test_matching_is_as_large_as_possible(made: list[int], truth: list[int]) -> None:
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    if not made or not truth:
        return
    near_NM = np.abs(np.subtract.outer(made, truth)) <= 2
    best = int((maximum_bipartite_matching(csr_matrix(near_NM), perm_type="column") >= 0).sum())
    assert defined(placement(np.array(made, float), np.array(truth, float), tolerance=2)).matches == best


def test_auc_of_right_random_and_opposite_places() -> None:
    assert placement_auc(TRUTH_M + 0.2, TRUTH_M, ELSEWHERE_K) == 1
    assert placement_auc(ELSEWHERE_K, TRUTH_M, ELSEWHERE_K) == 0
    assert placement_auc(TRUTH_M + 1.5, TRUTH_M, ELSEWHERE_K) == 0.5  # as far from both
    rng = np.random.default_rng(0)
    for rate in (20, 100, 400):  # chance whatever the rate
        scores = [placement_auc(rng.uniform(0, 600, rate), TRUTH_M, ELSEWHERE_K) for _ in range(20)]
        assert np.mean(scores) == pytest.approx(0.5, abs=0.04)


def test_auc_agrees_with_counting_pairs() -> None:
    rng = np.random.default_rng(1)
    made_N, truth_M, elsewhere_K = (np.round(rng.uniform(0, 20, n)) for n in (5, 9, 11))
    near_M, far_K = (-np.abs(np.subtract.outer(x, made_N)).min(1) for x in (truth_M, elsewhere_K))
    pairs_MK = np.subtract.outer(near_M, far_K)
    expected = ((pairs_MK > 0) + 0.5 * (pairs_MK == 0)).mean()
    assert placement_auc(made_N, truth_M, elsewhere_K) == pytest.approx(expected)


def test_no_number_without_grounds() -> None:
    none = np.zeros(0)
    assert "neither side" in reason(placement(none, none))
    frozen = defined(placement(none, TRUTH_M))
    assert frozen.recall == 0
    assert "no avatar event" in reason(frozen.precision)
    assert "no true event" in reason(defined(placement(TRUTH_M, none)).recall)
    assert "no avatar event" in reason(placement_auc(none, TRUTH_M, ELSEWHERE_K))
    assert "no true event" in reason(placement_auc(TRUTH_M, none, ELSEWHERE_K))
    assert "no moment without" in reason(placement_auc(TRUTH_M, TRUTH_M, none))
