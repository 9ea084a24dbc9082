"""Rates and shares in planted roles, and planted leans."""

import numpy as np
import pytest

from avatar_lab.evaluation.metric.posture import lean_response, rate_by_role, roles, share_by_role
from tests.evaluation.metric.signals import RATE, reason


def test_roles_exclude_silence_and_what_both_speak() -> None:
    role = roles([(0.0, 10.0), (50.0, 70.0)], [(8.0, 30.0), (45.0, 55.0)], seconds=60)
    assert role.speaking == [(0.0, 10.0), (50.0, 60)]
    assert role.listening == [(10.0, 30.0), (45.0, 50.0)]
    assert roles([], [(1.0, 9.0)], seconds=60).listening == [(1.0, 9.0)]
    assert roles([(0.0, 60.0)], [(1.0, 9.0)], seconds=60).listening == []


def test_planted_rates_and_shares() -> None:
    role = roles([(0.0, 30.0)], [(30.0, 60.0)], seconds=60)
    blinks = rate_by_role(np.concatenate([np.arange(1, 30, 2.5), np.arange(31, 60, 5.0)]), role)
    assert (blinks.speaking, blinks.listening) == (24, 12)
    away = [(0.0, 12.0), (24.0, 33.0)]
    gaze = share_by_role(away, role, absent=True)
    assert gaze.speaking == pytest.approx(0.4)
    assert gaze.listening == pytest.approx(0.9)
    assert share_by_role(away, role).speaking == pytest.approx(0.6)


def test_planted_lean() -> None:
    time_P = np.arange(0, 300, 1 / RATE)
    cues_M = np.arange(10.0, 290, 20)
    lean_P = 0.002 * time_P + sum(0.3 * ((time_P > t + 0.4) & (time_P < t + 4)) for t in cues_M)
    response = lean_response(lean_P, cues_M, cues_M + 10, rate=RATE)
    assert response == pytest.approx(0.3, abs=1e-9)  # the slow drift cancels
    assert lean_response(lean_P, cues_M + 10, cues_M + 12, rate=RATE) == pytest.approx(0, abs=1e-9)


def test_no_number_without_grounds() -> None:
    role = roles([(0.0, 30.0)], [(30.0, 33.0)], seconds=60)
    assert "3.0 s are too short" in reason(rate_by_role(np.array([1.0]), role).listening)
    assert "too short" in reason(share_by_role([], role).listening)
    cue = np.array([10.0])
    assert "lean is constant" in reason(lean_response(np.ones(500), cue, cue, rate=RATE))
    assert "no cue" in reason(lean_response(np.arange(500.0), cue[:0], cue, rate=RATE))
    assert "no matched moment" in reason(lean_response(np.arange(500.0), cue, cue + 60, rate=RATE))
