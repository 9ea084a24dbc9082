"""Planted lags are found, strangers are no better than chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from avatar_lab.evaluation.metric.coupling import coupling, relative_correlation
from avatar_lab.evaluation.metric.pseudo_dyads import pseudo_dyads
from avatar_lab.evaluation.metric.wclc import windowed_coupling
from tests.evaluation.metric.signals import RATE, ar1, defined, reason

FRAMES = 2250


def smooth(seed: int, num: int = FRAMES) -> np.ndarray:
    return ar1(num, seed=seed)[:, 0]


@pytest.mark.parametrize("lag", [0, 15, 40])
def test_planted_lag_is_found(lag: int) -> None:
    user_T = smooth(0)
    made_T = np.roll(user_T, lag) + 0.5 * smooth(1)
    found = defined(coupling(user_T, made_T, rate=RATE))
    assert found.peak == pytest.approx(1 / np.sqrt(1.25), abs=0.06)
    assert found.lag_seconds == pytest.approx(lag / RATE, abs=1.5 / RATE)
    assert found.p == pytest.approx(1 / (1 + found.windows))
    assert found.zero_lag == pytest.approx(pearsonr(user_T, made_T).statistic)
    windowed = defined(windowed_coupling(user_T, made_T, rate=RATE))
    assert windowed.lag_seconds == pytest.approx(lag / RATE, abs=2 / RATE)
    assert windowed.strength > windowed.chance + 0.5
    assert windowed.p == pytest.approx(1 / 40)


def test_the_avatar_ahead_of_the_user_shows_in_windows_only() -> None:
    user_T = smooth(2)
    ahead_T = np.roll(user_T, -20)
    assert defined(windowed_coupling(user_T, ahead_T, rate=RATE)).lag_seconds == pytest.approx(-0.8, abs=0.05)
    assert defined(coupling(user_T, ahead_T, rate=RATE)).p > 0.02


def test_strangers_reject_at_about_the_level() -> None:
    """And their maximum over lags is far from 0, so that it means nothing on its own."""
    found = [defined(coupling(smooth(2 * seed), smooth(2 * seed + 1), rate=RATE)) for seed in range(150)]
    assert 1 <= sum(one.p <= 0.05 for one in found) <= 17
    assert np.mean([one.peak for one in found]) == pytest.approx(np.mean([one.chance for one in found]), abs=0.03)
    assert np.mean([one.peak for one in found]) > 0.04


def test_windowed_strangers_are_at_chance() -> None:
    found = [defined(windowed_coupling(smooth(2 * s, 1100), smooth(2 * s + 1, 1100), rate=RATE)) for s in range(6)]
    assert sum(one.p <= 0.05 for one in found) <= 2
    assert np.mean([one.strength - one.chance for one in found]) == pytest.approx(0, abs=0.08)
    assert np.mean([one.strength for one in found]) > 0.1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(-2000, 2000), st.floats(0.01, 50), st.floats(-9, 9))
def test_moving_both_circularly_and_rescaling_changes_nothing(seed: int, by: int, gain: float, offset: float) -> None:
    user_T, made_T = smooth(seed), smooth(seed + 5000)
    one = defined(coupling(user_T, made_T, rate=RATE))
    other = defined(coupling(np.roll(user_T, by), gain * np.roll(made_T, by) + offset, rate=RATE))
    assert other.peak == pytest.approx(one.peak, abs=1e-9)
    assert other.chance == pytest.approx(one.chance, abs=1e-9)
    assert other.p == one.p


def test_relative_correlation() -> None:
    user_T = smooth(3)
    truth_T = np.roll(user_T, 10) + smooth(4)
    itself = defined(relative_correlation(user_T, truth_T, truth_T, rate=RATE))
    assert itself.zero_lag == itself.lagged == 0
    assert itself.chance_lagged > 0.3
    stranger = defined(relative_correlation(user_T, truth_T, smooth(5), rate=RATE))
    assert stranger.lagged == pytest.approx(stranger.chance_lagged, abs=0.15)
    mirrored = defined(relative_correlation(user_T, user_T, -user_T, rate=RATE))
    assert mirrored.zero_lag == pytest.approx(2)
    late = defined(relative_correlation(user_T, user_T, np.roll(user_T, 10), rate=RATE))
    assert late.zero_lag == pytest.approx(1 - pearsonr(user_T, np.roll(user_T, 10)).statistic)


def test_pseudo_dyads() -> None:
    users = [smooth(seed) for seed in range(8)]
    made = [np.roll(user_T, 15) + smooth(100 + seed) for seed, user_T in enumerate(users)]
    own = defined(pseudo_dyads(users, made, rate=RATE, seed=0))
    assert own.own == pytest.approx(np.sqrt(0.5), abs=0.08)
    assert own.others < 0.4
    assert own.p < 0.001
    assert own.dyads == 8
    yoked = defined(pseudo_dyads(users, made[1:] + made[:1], rate=RATE, seed=0))
    assert yoked.p > 0.05
    assert yoked.own < own.others + 0.15
    one_frozen = defined(pseudo_dyads(users, [*made[:7], np.ones(FRAMES)], rate=RATE, seed=0))
    assert one_frozen.dyads == 7


def test_no_number_without_grounds() -> None:
    user_T, still_T = smooth(6), np.full(FRAMES, 0.7)
    broken_T = np.where(np.arange(FRAMES) == 5, np.nan, user_T)
    for metric in (coupling, windowed_coupling):
        assert "made is constant" in reason(metric(user_T, still_T, rate=RATE))
        assert "user is not finite" in reason(metric(broken_T, user_T, rate=RATE))
        assert "are needed" in reason(metric(user_T[:900], user_T[:900], rate=RATE))
        with pytest.raises(ValueError, match="shapes differ"):
            metric(user_T, user_T[:-1], rate=RATE)
    halves_T = np.where(np.arange(FRAMES) < FRAMES // 2, user_T, 0.0)
    other_T = np.where(np.arange(FRAMES) < FRAMES // 2 + 300, 0.0, user_T)
    assert "in no window" in reason(windowed_coupling(halves_T, other_T, rate=RATE))
    assert "truth is constant" in reason(relative_correlation(user_T, still_T, user_T, rate=RATE))
    assert "two are needed" in reason(pseudo_dyads([user_T], [user_T], rate=RATE, seed=0))
    assert "1 of 2 dyads" in reason(pseudo_dyads([user_T] * 2, [user_T, still_T], rate=RATE, seed=0))
    with pytest.raises(ValueError, match="in pairs"):
        pseudo_dyads([user_T], [], rate=RATE, seed=0)
