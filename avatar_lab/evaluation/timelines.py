"""What the report draws over time, from what was observed: transfers of the floor, and the course of a conversation.

W windows of ten seconds   M samples
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from avatar_lab.evaluation.measure_motion import QUIET
from avatar_lab.evaluation.metric.drift import WINDOW_SECONDS, rate_per_window, windowed
from avatar_lab.evaluation.metric.turn_taking import Speech, floor_transfer_offsets
from avatar_lab.evaluation.metric.undefined import Array
from avatar_lab.evaluation.observation import Observation
from avatar_lab.event_types import EventType

Curve = Callable[[Observation, float, float], Array]
"""Observation, frames per second and seconds to one value per window (W,)."""


@dataclass(frozen=True, kw_only=True)
class Timelines:
    """Of one agent.

    offsets_N  floor transfer offsets in seconds, user to avatar, of all samples
    courses    quantity to the mean over samples per window, (W,)
    """

    offsets_N: Array
    courses: dict[str, Array]


def _motion(observation: Observation, fps: float, seconds: float) -> Array:
    return windowed(observation.channels(("pitch",))[:, 0], rate=fps, statistic=np.std)


def _loudness(observation: Observation, fps: float, seconds: float) -> Array:
    return windowed(20 * np.log10(np.maximum(observation.envelope_P, QUIET)), rate=fps)


def _nods(observation: Observation, fps: float, seconds: float) -> Array:
    return rate_per_window(observation.onsets((EventType.NOD,)), seconds=seconds)


COURSES: dict[str, Curve] = {"head motion, degrees": _motion, "loudness, dB": _loudness, "nods per minute": _nods}


def timelines(
    observed: Mapping[str, Observation],
    cues: Mapping[str, Mapping[str, Any]],
    users: Mapping[str, Observation],
    *,
    fps: float,
) -> Timelines:
    """Timelines of an agent that was observed at least once.

    Args:
        cues: ``cues.json``.
        observed, users: the agent and the recorded people, by name of sample.
    """
    offsets: list[float] = []
    courses: dict[str, list[Array]] = {name: [] for name in COURSES}
    for sample, observation in observed.items():
        seconds = float(cues[sample]["seconds"])
        user = users[str(cues[sample]["partner"])]
        offsets += floor_transfer_offsets(Speech(own=observation.speech, user=user.speech, seconds=seconds))
        for name, curve in COURSES.items():
            courses[name].append(curve(observation, fps, seconds))
    means = {}
    for name, values in courses.items():
        windows = min(map(len, values))
        means[name] = np.stack([value_W[:windows] for value_W in values]).mean(0)
    return Timelines(offsets_N=np.array(offsets, dtype=np.float64), courses=means)


def window_minutes(windows: int) -> Array:
    """Middles of windows in minutes, (W,)."""
    return (np.arange(windows) + 0.5) * WINDOW_SECONDS / 60
