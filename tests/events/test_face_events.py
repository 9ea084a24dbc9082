import numpy as np
import pytest

from avatar_lab.event_types import EventType
from avatar_lab.events.blinks import detect_blinks
from avatar_lab.events.nods import NodRule, detect_nods
from avatar_lab.events.smiles import detect_smiles

SECONDS = 30.0


def _time(fps: float) -> np.ndarray:
    return np.arange(round(SECONDS * fps)) / fps


def _nod(time: np.ndarray, start: float, *, hertz: float, cycles: int, degrees: float) -> np.ndarray:
    """Chin down and back ``cycles`` times, declining."""
    phase = (time - start) * hertz
    inside = (phase >= 0) & (phase < cycles)
    return inside * degrees * (1 - np.cos(2 * np.pi * phase)) / 2 * (1 - 0.4 * np.clip(phase / cycles, 0, 1))


@pytest.mark.parametrize("fps", [25.0, 29.97, 30.0])
@pytest.mark.parametrize("hertz", [2.0, 3.0, 4.5, 6.0])
def test_nods_are_found_at_their_onset(fps: float, hertz: float) -> None:
    time = _time(fps)
    starts = [3.0, 8.3, 15.1, 22.7]
    pitch = 2.0 * np.sin(2 * np.pi * 0.15 * time) + 0.15 * np.random.default_rng(0).standard_normal(len(time))
    for start in starts:
        pitch = pitch + _nod(time, start, hertz=hertz, cycles=2, degrees=10.0)
    found = detect_nods(pitch, fps, interaction="d0", side="b")
    np.testing.assert_allclose([e.start for e in found], starts, atol=0.06)
    np.testing.assert_allclose([e.end - e.start for e in found], 2 / hertz, atol=0.25)
    assert all((e.type, e.interaction, e.side) == (EventType.NOD, "d0", "b") for e in found)


def test_slow_sway_single_steps_and_jitter_are_no_nods() -> None:
    time = _time(25.0)
    sway = 12 * np.sin(2 * np.pi * 0.3 * time)
    jitter = 0.5 * np.random.default_rng(0).standard_normal(len(time))
    assert detect_nods(sway + jitter, 25.0) == []
    small = _nod(time, 5.0, hertz=3.0, cycles=2, degrees=2.0)
    assert detect_nods(small, 25.0) == []
    assert len(detect_nods(small, 25.0, NodRule(min_amplitude=0.5))) == 1
    assert detect_nods(np.zeros(0), 25.0) == []
    assert detect_nods(np.zeros(3), 25.0) == []


def test_long_oscillation_is_cut_into_nods() -> None:
    found = detect_nods(_nod(_time(25.0), 5.0, hertz=3.0, cycles=9, degrees=10.0), 25.0)
    assert len(found) == 2
    assert all(e.end - e.start <= 1.6 for e in found)


@pytest.mark.parametrize("rest", [0.0, 0.15])
def test_smiles_are_found_at_their_onset_over_any_resting_level(rest: float) -> None:
    time = _time(25.0)
    curve = rest + 0.02 * np.random.default_rng(1).standard_normal(len(time))
    starts = [4.0, 11.0, 19.5]
    for start in starts:
        rise = np.clip((time - start) / 0.4, 0, 1) - np.clip((time - start - 2.0) / 0.6, 0, 1)
        curve = curve + 0.7 * np.clip(rise, 0, 1)
    found = detect_smiles(curve, 25.0)
    np.testing.assert_allclose([e.start for e in found], starts, atol=0.08)
    assert all(e.type is EventType.SMILE and 0.6 < e.strength < 0.8 for e in found)


def test_hysteresis_keeps_a_flickering_smile_whole() -> None:
    time = _time(25.0)
    curve = np.where((time > 5) & (time < 8), 0.25 + 0.1 * np.sin(2 * np.pi * 2 * time), 0.0)
    assert len(detect_smiles(curve, 25.0)) == 1
    assert detect_smiles(np.full(100, 0.8), 25.0) == []
    assert detect_smiles(np.zeros(0), 25.0) == []


def test_blinks_are_counted_and_closed_eyes_are_not() -> None:
    time = _time(25.0)
    starts = np.arange(1.0, 20.0, 2.3)
    curve = 0.05 * np.ones(len(time))
    for start in starts:
        curve = np.maximum(curve, np.interp(time, [start, start + 0.08, start + 0.2], [0.05, 1.0, 0.05]))
    curve[(time > 24) & (time < 26)] = 1.0
    found = detect_blinks(curve, 25.0)
    assert len(found) == len(starts)
    np.testing.assert_allclose([e.start for e in found], starts, atol=0.06)
    assert detect_blinks(np.zeros(0), 25.0) == []
