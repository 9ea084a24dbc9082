"""Motion whose variance, jerk and clusters are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar_lab.evaluation.metric.variety import jerk_ratio, seam_jerk, shannon_index, variance_ratio
from tests.evaluation.metric.signals import ar1, defined, reason


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 20), st.floats(-10, 10))
def test_ratios_follow_the_gain_and_ignore_the_offset(seed: int, gain: float, offset: float) -> None:
    truth_TD = ar1(120, seed=seed, dims=3)
    assert variance_ratio(truth_TD, gain * truth_TD + offset) == pytest.approx(gain**2, rel=1e-6)
    assert jerk_ratio(truth_TD, gain * truth_TD + offset) == pytest.approx(gain, rel=1e-6)


def test_a_frozen_face_has_no_variance_and_no_jerk() -> None:
    truth_TD = ar1(200, seed=0, dims=2)
    assert variance_ratio(truth_TD, np.zeros_like(truth_TD)) == 0
    assert jerk_ratio(truth_TD, np.zeros_like(truth_TD)) == 0


def test_jerk_of_a_cubic_is_constant() -> None:
    frames_T = np.arange(50.0)[:, None]
    assert jerk_ratio(frames_T**3, 2.5 * frames_T**3) == pytest.approx(2.5)
    assert "without any jerk" in reason(jerk_ratio(frames_T**2, frames_T**3))


def test_seams_show_at_block_edges_only() -> None:
    smooth_TD = ar1(4000, seed=1, dims=3)
    assert seam_jerk(smooth_TD, block_frames=8) == pytest.approx(1, abs=0.05)
    steps_TD = np.repeat(np.random.default_rng(2).normal(size=(500, 3)), 8, axis=0)
    seamed = defined(seam_jerk(smooth_TD + 2 * steps_TD, block_frames=8))
    assert seamed > 3
    assert seam_jerk(np.roll(smooth_TD + 2 * steps_TD, 4, axis=0), block_frames=8) < seamed / 2
    ramp_T = np.arange(64.0)[:, None] ** 3
    assert seam_jerk(ramp_T, block_frames=8) == pytest.approx(1)
    assert "no jerk" in reason(seam_jerk(steps_TD, block_frames=8))


def test_entropy_of_planted_clusters() -> None:
    rng = np.random.default_rng(3)
    centres_KD = np.array([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    even_ND = np.repeat(centres_KD, 100, axis=0) + rng.normal(0, 0.1, (400, 2))
    found = defined(shannon_index([even_ND], [even_ND[:200]], clusters=4, seed=0))
    assert found.truth_bits == pytest.approx(2, abs=1e-6)
    assert found.made_bits == pytest.approx(1, abs=1e-6)
    assert found.most == 2
    assert found.ratio == pytest.approx(0.5)


def test_clusters_are_those_of_the_truth() -> None:
    """Clusters of the prediction would give this collapsed one the full entropy."""
    rng = np.random.default_rng(4)
    truth_ND, collapsed_ND = rng.normal(size=(1000, 3)), 1e-3 * rng.normal(size=(1000, 3)) + 2
    found = defined(shannon_index([truth_ND], [collapsed_ND], clusters=10, seed=0))
    assert found.truth_bits > 3
    assert found.made_bits < 0.5
    assert found == shannon_index([truth_ND], [collapsed_ND], clusters=10, seed=0)


def test_no_number_without_grounds() -> None:
    motion_TD = ar1(100, seed=5)
    still_TD, broken_TD = np.full((100, 1), 7.3), np.full((100, 1), np.nan)
    assert "truth is constant" in reason(variance_ratio(still_TD, motion_TD))
    assert "made is not finite" in reason(variance_ratio(motion_TD, broken_TD))
    assert "4 are needed" in reason(jerk_ratio(motion_TD[:3], motion_TD[:3]))
    assert "truth is constant" in reason(jerk_ratio(still_TD, motion_TD))
    assert "16 are needed" in reason(seam_jerk(motion_TD[:12], block_frames=8))
    assert "third difference" in reason(seam_jerk(motion_TD, block_frames=3))
    assert "constant" in reason(seam_jerk(still_TD, block_frames=8))
    assert "100 are needed" in reason(shannon_index([motion_TD[:99]], [motion_TD], clusters=10, seed=0))
    assert "no clips" in reason(shannon_index([], [], clusters=10, seed=0))
    with pytest.raises(ValueError, match="shapes differ"):
        variance_ratio(motion_TD, motion_TD[:50])
    with pytest.raises(ValueError, match="two at least"):
        shannon_index([motion_TD], [motion_TD], clusters=1, seed=0)
