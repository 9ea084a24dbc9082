"""Frechet distances of Gaussians whose distance is known, and a floor that means what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from avatar_lab.evaluation.metric.frechet import frechet, frechet_distance, paired_frechet
from tests.evaluation.metric.signals import ar1, defined, reason


def whitened(num: int, dims: int, seed: int) -> np.ndarray:
    """Frames with exactly zero mean and unit (unbiased) covariance."""
    x_ND = np.random.default_rng(seed).normal(size=(num, dims))
    x_ND = x_ND - x_ND.mean(0)
    return np.linalg.solve(np.linalg.cholesky(np.cov(x_ND, rowvar=False)), x_ND.T).T


def test_distance_of_known_gaussians() -> None:
    x_ND = whitened(500, 3, seed=0)
    assert frechet_distance(x_ND, x_ND + [1, 2, 0]) == pytest.approx(5, abs=1e-9)
    assert frechet_distance(x_ND, 3 * x_ND) == pytest.approx(3 * (3 - 1) ** 2, abs=1e-9)
    assert frechet_distance(x_ND, x_ND * 0) == pytest.approx(3, abs=1e-9)  # a frozen agent: the truth's variance


def test_distance_agrees_with_the_matrix_square_root() -> None:
    rng = np.random.default_rng(1)
    left_ND, right_ND = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(400, 6)) + 0.3
    left_DD, right_DD = np.cov(left_ND, rowvar=False), np.cov(right_ND, rowvar=False)
    shift = np.square(left_ND.mean(0) - right_ND.mean(0)).sum()
    expected = shift + np.trace(left_DD + right_DD - 2 * np.real(sqrtm(left_DD @ right_DD)))
    assert frechet_distance(left_ND, right_ND) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(-5, 5))
def test_distance_is_symmetric_and_scales_with_the_unit(seed: int, unit: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    left_ND, right_ND = rng.normal(size=(60, 4)), rng.normal(size=(60, 4)) * 2 + 1
    distance = frechet_distance(left_ND, right_ND)
    assert distance >= 0
    assert frechet_distance(right_ND, left_ND) == pytest.approx(distance, rel=1e-6)
    moved = frechet_distance(left_ND * unit + offset, right_ND * unit + offset)
    assert moved == pytest.approx(distance * unit**2, rel=1e-6)


def test_the_truth_itself_lies_on_the_floor() -> None:
    truth = [ar1(400, seed=seed, dims=5) for seed in range(8)]
    itself = defined(frechet(truth, truth, seed=0))
    assert itself.distance == pytest.approx(0, abs=1e-9)
    assert itself.halved == itself.floor > 0
    assert itself.frames == 3200
    another = defined(frechet(truth, [ar1(400, seed=100 + seed, dims=5) for seed in range(8)], seed=0))
    assert another.floor == itself.floor
    assert another.halved < 2 * another.floor
    frozen = defined(frechet(truth, [np.zeros((400, 5))] * 8, seed=0))
    assert frozen.halved > 5 * frozen.floor


def test_pooling_lowers_the_bias_of_single_clips() -> None:
    """The figures of the module's text: single clips of one process are far apart, many pooled are not."""
    single = frechet_distance(ar1(750, seed=0, dims=50), ar1(750, seed=1, dims=50))
    assert 20 < single < 32
    truth, made = ([ar1(750, seed=first + seed, dims=50) for seed in range(12)] for first in (10, 100))
    assert defined(frechet(truth, made, seed=0)).distance < single / 5


def test_pairs_count_in_the_paired_distance() -> None:
    user = [ar1(1000, seed=seed) for seed in range(4)]
    truth = [0.9 * x_TD + 0.436 * ar1(1000, seed=50 + seed) for seed, x_TD in enumerate(user)]
    yoked = truth[1:] + truth[:1]  # equal marginals, other pairs
    right, wrong = (defined(paired_frechet(user, truth, made, seed=0)) for made in (truth, yoked))
    assert right.distance == pytest.approx(0, abs=1e-9)
    assert wrong.distance > 0.3
    assert defined(frechet(truth, yoked, seed=0)).distance == pytest.approx(0, abs=1e-9)


def test_no_number_without_grounds() -> None:
    clips = [ar1(100, seed=seed, dims=3) for seed in range(4)]
    broken = [clips[0] * np.nan, *clips[1:]]
    assert "two clips" in reason(frechet(clips[:1], clips[:1], seed=0))
    assert "dimensions" in reason(frechet([c[:2] for c in clips[:2]], [c[:2] for c in clips[:2]], seed=0))
    assert "made is not finite" in reason(frechet(clips, broken, seed=0))
    assert "constant" in reason(frechet([c * 0 for c in clips], clips, seed=0))
    with pytest.raises(ValueError, match="shapes differ"):
        frechet(clips, [c[:50] for c in clips], seed=0)
    with pytest.raises(ValueError, match="in pairs"):
        frechet(clips, clips[:2], seed=0)
    with pytest.raises(ValueError, match="same stretch"):
        paired_frechet([c[:50] for c in clips], clips, clips, seed=0)
