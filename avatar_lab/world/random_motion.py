"""Random facial motion that covers the whole range of every channel: training data for the codec and the pixel reader.

Not conversation (see ``simulate``): channels move independently, so that a reader cannot infer one from another.

    T frames   P face channels
"""

from __future__ import annotations

import numpy as np

from avatar_lab.world.gestures import rise
from avatar_lab.world.tracks import FACE_CHANNELS, SCENE_CHANNELS

_SWAY = {"yaw": 26.0, "pitch": 14.0, "roll": 12.0, "lean": 1.0, "gaze_x": 1.0, "gaze_y": 1.0}
"""Slow symmetric channels and the amplitude at which they saturate."""
_SWELL = ("smile", "brow", "mouth_round")
"""Slow channels in [0, 1]."""


def random_face_tracks(rng: np.random.Generator, num_frames: int, fps: float) -> np.ndarray:
    """Tracks (num_frames, P) float32, a pure function of ``rng``'s state."""
    seconds = np.arange(num_frames) / fps
    # people differ in liveliness, and most of the time they sit calmly and face the camera
    tempo, reach = np.exp(rng.uniform(np.log(0.15), 0.0, 2))
    columns: dict[str, np.ndarray] = {}
    for name, amplitude in _SWAY.items():
        columns[name] = reach * amplitude * np.clip(_wave(rng, seconds, rate=0.6 * tempo) * 1.1, -1, 1)
    for name in _SWELL:
        columns[name] = np.clip(_wave(rng, seconds, rate=0.7 * tempo) * 0.9 + 0.4, 0, 1)
    talking = _wave(rng, seconds, rate=0.4) > rng.uniform(-0.6, 0.3)
    columns["jaw"] = np.clip(_wave(rng, seconds, rate=1.5 + 3.0 * tempo) * 0.8 + 0.35, 0, 1) * _smooth(talking, fps)
    columns["pitch"] = columns["pitch"] + _nods(rng, seconds)
    columns["blink"] = _blinks(rng, seconds)
    return np.stack([columns[name] for name in FACE_CHANNELS], axis=1).astype(np.float32)


def random_scene_tracks(rng: np.random.Generator, num_frames: int, fps: float) -> np.ndarray:
    """Hand and room (num_frames, C) float32: each comes and goes at most once, and is there half of the time."""
    seconds = (np.arange(num_frames) + 0.5) / fps
    columns = []
    for _ in SCENE_CHANNELS:
        start, length, ramp = rng.uniform(-2.0, num_frames / fps), rng.uniform(1.2, 4.0), rng.uniform(0.3, 0.9)
        columns.append(np.minimum(rise((seconds - start) / ramp), rise((start + length - seconds) / ramp)))
    return np.stack(columns, axis=1).astype(np.float32)


def _wave(rng: np.random.Generator, seconds: np.ndarray, rate: float) -> np.ndarray:
    """Sum of five sinusoids around ``rate`` Hz with a random offset, roughly in [-1, 1]."""
    rates = rate * rng.uniform(0.3, 1.6, (5, 1))
    phases = rng.uniform(0, 2 * np.pi, (5, 1))
    gains = rng.dirichlet(np.full(5, 3.0))[:, None]
    return 1.5 * (gains * np.sin(2 * np.pi * rates * seconds + phases)).sum(0) + rng.uniform(-0.5, 0.5)


def _smooth(gate: np.ndarray, fps: float) -> np.ndarray:
    """Soften a boolean track over a fifth of a second."""
    width = max(1, round(fps * 0.2))
    padded = np.pad(gate.astype(float), (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


def _nods(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """Bursts of one to three downward swings at 1.5 to 3 Hz, one about every three seconds."""
    track = np.zeros_like(seconds)
    time = rng.exponential(1.5)
    while seconds.size and time < seconds[-1]:
        rate, swings = rng.uniform(1.5, 3.0), int(rng.integers(1, 4))
        phase = (seconds - time) * rate
        inside = (phase >= 0) & (phase < swings)
        track += inside * rng.uniform(4, 14) * (1 - np.cos(2 * np.pi * phase)) / 2
        time += swings / rate + rng.exponential(2.5)
    return track


def _blinks(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """Closures of 0.2 to 0.6 s, more frequent than in life so that training sees enough of them."""
    track = np.zeros_like(seconds)
    time = rng.exponential(0.8)
    while seconds.size and time < seconds[-1]:
        length = rng.uniform(0.2, 0.6)
        phase = np.clip((seconds - time) / length, 0, 1)
        track = np.maximum(track, rng.uniform(0.6, 1.0) * np.sin(np.pi * phase) ** 0.7)
        time += length + rng.exponential(1.6)
    return np.clip(track, 0, 1)
