"""Gestures of the calibrated world: looking away, leaning, raised brows, a raised hand, sunlight on the wall.

T  video frames   C  scene channels
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avatar_lab.event_types import Event, EventType
from avatar_lab.world.noise import Noise
from avatar_lab.world.tracks import SCENE_CHANNELS

_GLANCE_SECONDS = 0.12
_HEAD_SECONDS = 0.3
"""The eyes lead, the head follows."""
_AWAY_DEGREES = 9.0
_LEAN, _LEAN_SECONDS = 0.75, 0.7
_HAND_SECONDS = 0.45
_SUN_SECONDS = 0.8


def add_gesture(face: dict[str, np.ndarray], event: Event, time_T: np.ndarray, noise: Noise) -> None:
    """Add one event to the face channels (by name, (T,) each), in place; types that are no gesture change nothing."""
    since_T, left_T = time_T - event.start, event.end - time_T
    if event.type is EventType.GAZE_AWAY:
        away_T = np.minimum(rise(since_T / _GLANCE_SECONDS), rise(left_T / _GLANCE_SECONDS + 1))
        turned_T = np.minimum(rise(since_T / _HEAD_SECONDS), rise(left_T / _HEAD_SECONDS + 1))
        side = 1.0 if noise.uniform("away_side", event.event_id) < 0.5 else -1.0
        height = noise.uniform("away_height", event.event_id) - 0.6
        face["gaze_x"] += side * (0.75 + 0.2 * noise.uniform("away_far", event.event_id)) * away_T
        face["gaze_y"] += 0.9 * height * away_T
        face["yaw"] += side * _AWAY_DEGREES * turned_T
        face["pitch"] += 4 * height * turned_T
    elif event.type is EventType.LEAN:
        lean_T = np.minimum(rise(since_T / _LEAN_SECONDS), rise(left_T / _LEAN_SECONDS))
        face["lean"] += _LEAN * min(event.strength, 1.2) * lean_T
    elif event.type is EventType.BROW_RAISE:
        height = 0.3 + 0.3 * noise.uniform("brow_height", event.event_id)
        face["brow"] += height * swell(since_T / max(event.end - event.start, 0.1))
    elif event.type is EventType.HESITATION:
        face["brow"] -= 0.12 * swell(since_T)


def scene_track(events: Sequence[Event], time_T: np.ndarray, noise: Noise) -> np.ndarray | None:
    """Hand and room (T, C) float32; ``None`` where neither does anything."""
    kinds = {EventType.HAND_RAISE: ("hand", _HAND_SECONDS), EventType.BACKGROUND: ("room", _SUN_SECONDS)}
    scene = {channel: np.zeros(len(time_T)) for channel in SCENE_CHANNELS}
    for event in events:
        if event.type in kinds:
            channel, seconds = kinds[event.type]
            since_T, left_T = time_T - event.start, event.end - time_T
            shape_T = np.minimum(rise(since_T / seconds), rise(left_T / seconds))
            if channel == "hand":
                beat = 2 * np.pi * (1.1 + 0.4 * noise.uniform("wave", event.event_id))
                shape_T = shape_T * (1 - 0.05 * (1 - np.cos(beat * np.clip(since_T, 0, None))) / 2)
            scene[channel] = np.maximum(scene[channel], shape_T)
    if not any(track_T.any() for track_T in scene.values()):
        return None
    return np.stack([scene[channel] for channel in SCENE_CHANNELS], axis=1).astype(np.float32)


def rise(x: np.ndarray) -> np.ndarray:
    """Smooth step from 0 at 0 to 1 at 1."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def swell(x: np.ndarray) -> np.ndarray:
    """One smooth hump over (0, 1)."""
    return np.sin(np.pi * np.clip(x, 0, 1)) ** 2
