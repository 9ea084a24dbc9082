"""Planted drifts, and none."""

import numpy as np
import pytest

from avatar_lab.evaluation.metric.drift import drift, rate_per_window, windowed
from tests.evaluation.metric.signals import defined, reason


def test_planted_slope_comes_back() -> None:
    curve_P = 100 - 3 * np.arange(600 * 25) / 25 / 60
    found = defined(drift(windowed(curve_P, rate=25)))
    assert found.windows == 60
    assert found.per_minute == pytest.approx(-3)
    assert found.low == pytest.approx(found.high) == pytest.approx(-3)
    assert not found.holds_still
    assert found.first - found.last == pytest.approx(3 * 400 / 60, rel=1e-6)


def test_one_wild_window_does_not_make_a_drift() -> None:
    values_W = np.random.default_rng(0).normal(size=36)
    wild_W = values_W.copy()
    wild_W[-1] = 1e6
    assert defined(drift(wild_W)).holds_still
    assert abs(defined(drift(wild_W)).per_minute - defined(drift(values_W)).per_minute) < 0.2


def test_interval_covers_zero_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = sum(defined(drift(rng.normal(size=12))).holds_still for _ in range(400))
    assert 0.91 <= covered / 400 <= 0.99


def test_windows_without_a_value_keep_their_time() -> None:
    values_W = 2.0 * np.arange(12)
    values_W[3:6] = np.nan
    assert defined(drift(values_W)).per_minute == pytest.approx(12)
    assert defined(drift(values_W)).windows == 9


def test_nothing_moves_nothing_drifts() -> None:
    found = defined(drift(np.full(8, 0.3)))
    assert (found.per_minute, found.low, found.high) == (0, 0, 0)


def test_windows() -> None:
    curve_P = np.repeat([1.0, 2.0, np.nan], 250)
    values_W = windowed(np.append(curve_P, 5.0), rate=25)
    assert values_W[:2].tolist() == [1, 2]
    assert np.isnan(values_W[2])
    assert len(values_W) == 3
    assert rate_per_window(np.array([1.0, 2.0, 11.0, 25.0]), seconds=24).tolist() == [12, 6]
    assert len(rate_per_window(np.zeros(0), seconds=9)) == 0


def test_no_number_without_grounds() -> None:
    assert "6 are needed" in reason(drift(np.arange(5.0)))
    assert "1 windows" in reason(drift(np.array([1.0, *[np.nan] * 20])))
    assert "infinite" in reason(drift(np.array([*range(7), np.inf], dtype=float)))
