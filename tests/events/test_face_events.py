import numpy as np
import pytest

from avatar_lab.event_types import EventType
from avatar_lab.events.blinks import detect_blinks
from avatar_lab.events.gaze import detect_gaze_away
from avatar_lab.events.leans import detect_leans
from avatar_lab.events.nods import NodRule, detect_nods
from avatar_lab.events.smiles import detect_smiles
from avatar_lab.events.visible import detect_visible

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


def _plateau(time: np.ndarray, start: float, seconds: float, *, rise: float = 0.5) -> np.ndarray:
    """From 0 to 1 within ``rise`` seconds, and back after ``seconds``."""
    return np.clip((time - start) / rise, 0, 1) - np.clip((time - start - seconds) / rise, 0, 1)


@pytest.mark.parametrize("posture", [-0.3, 0.0, 0.2])
def test_leans_are_approaches_that_last(posture: float) -> None:
    time = _time(25.0)
    curve = posture + 0.02 * np.random.default_rng(2).standard_normal(len(time))
    curve = curve + 0.6 * (_plateau(time, 4.0, 2.5) + _plateau(time, 15.0, 2.0)) - 0.6 * _plateau(time, 21.0, 3.0)
    curve = curve + 0.6 * _plateau(time, 10.0, 0.2, rise=0.1)
    found = detect_leans(curve, 25.0, interaction="d0", side="b")
    np.testing.assert_allclose([e.start for e in found], [4.1, 15.1], atol=0.25)
    assert all(e.type is EventType.LEAN and 0.5 < e.strength < 0.7 for e in found)
    assert detect_leans(np.zeros(0), 25.0) == []
    assert detect_leans(np.full(200, 0.9), 25.0) == []


def test_looks_away_depart_from_the_usual_direction() -> None:
    time = _time(25.0)
    gaze = np.stack([np.full(len(time), 0.3), np.full(len(time), -0.1)], axis=1)
    gaze += 0.03 * np.random.default_rng(3).standard_normal(gaze.shape)
    gaze[:, 0] += 0.7 * _plateau(time, 5.0, 1.5, rise=0.08)
    gaze[:, 1] -= 0.6 * _plateau(time, 12.0, 0.6, rise=0.08)
    gaze[(time > 20.0) & (time < 20.06), 0] += 0.9
    found = detect_gaze_away(gaze, 25.0)
    np.testing.assert_allclose([e.start for e in found], [5.0, 12.0], atol=0.08)
    np.testing.assert_allclose([e.end - e.start for e in found], [1.5, 0.6], atol=0.15)
    assert detect_gaze_away(np.zeros((0, 2)), 25.0) == []


def test_what_is_unknown_is_no_event_and_hides_none() -> None:
    """Blocks that nobody read, as zeros or as NaN, do not move the head; nods beside them are found."""
    time = _time(25.0)
    pitch = 20.0 + sum(_nod(time, start, hertz=3.0, cycles=2, degrees=10.0) for start in (3.0, 9.0, 22.0))
    pitch[200:320] = np.nan  # from 8.0 s to 12.8 s
    found = detect_visible({"pitch": pitch}, 25.0, interaction="d", side="a")
    np.testing.assert_allclose([e.start for e in found], [3.0, 22.0], atol=0.06)
    mostly = np.where(time < 18.0, np.nan, pitch)
    assert detect_visible({"pitch": mostly}, 25.0, interaction="d", side="a") == []
    assert detect_visible({}, 25.0, interaction="d", side="a") == []
    assert detect_visible({"pitch": np.full(50, np.nan)}, 25.0, interaction="d", side="a") == []
