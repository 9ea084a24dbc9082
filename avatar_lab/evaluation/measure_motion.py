"""How one agent moved in one conversation: seams and drift, variety against the truth, coupling to the user.

P video frames   C reader channels
"""

from __future__ import annotations

import numpy as np

from avatar_lab.evaluation.finding import Finding, finding
from avatar_lab.evaluation.metric.coupling import coupling, relative_correlation
from avatar_lab.evaluation.metric.drift import drift, windowed
from avatar_lab.evaluation.metric.undefined import Array
from avatar_lab.evaluation.metric.variety import jerk_ratio, seam_jerk, variance_ratio
from avatar_lab.evaluation.observation import Observation
from avatar_lab.layout import Layout

HEAD = ("pitch", "yaw")
VARIED = {"head": HEAD, "jaw": ("jaw",)}
COUPLED = ("pitch", "smile")
QUIET = 1e-4
"""Amplitude that counts as the quietest, 80 decibels below full scale."""


def find_motion(observation: Observation, layout: Layout) -> list[Finding]:
    """Seams between blocks, and drift over windows of ten seconds."""
    fps = float(layout.fps)
    head_PC = observation.channels(HEAD)
    level_P = 20 * np.log10(np.maximum(observation.envelope_P, QUIET))
    restless = drift(windowed(head_PC[:, 0], rate=fps, statistic=np.std))
    loud = drift(windowed(level_P, rate=fps, statistic=np.mean))
    return [
        Finding(
            metric="head_seam_jerk", value=seam_jerk(head_PC, block_frames=layout.frames_per_block), n=len(head_PC)
        ),
        finding("head_motion_drift", restless, lambda d: d.per_minute, lambda d: d.windows),
        finding("voice_level_drift", loud, lambda d: d.per_minute, lambda d: d.windows),
    ]


def find_variety(observation: Observation, truth: Observation) -> list[Finding]:
    """Variance and jerk as shares of those of the recorded avatar."""
    found = []
    for name, columns in VARIED.items():
        true_PC, made_PC = _same_stretch(truth, observation, columns=columns)
        found += [
            Finding(metric=f"{name}_variance_ratio", value=variance_ratio(true_PC, made_PC), n=len(made_PC)),
            Finding(metric=f"{name}_jerk_ratio", value=jerk_ratio(true_PC, made_PC), n=len(made_PC)),
        ]
    return found


def find_coupling(observation: Observation, truth: Observation, user: Observation, layout: Layout) -> list[Finding]:
    """Coupling to the user's motion beyond chance, and its difference to that of the recorded avatar, per dimension."""
    found, fps = [], float(layout.fps)
    for name in COUPLED:
        user_P, true_P, made_P = (x_PC[:, 0] for x_PC in _same_stretch(user, truth, observation, columns=(name,)))
        own = coupling(user_P, made_P, rate=fps)
        other = relative_correlation(user_P, true_P, made_P, rate=fps)
        found += [
            finding(f"{name}_coupling", own, lambda c: c.peak - c.chance, lambda c: c.windows),
            finding(f"{name}_rpcc", other, lambda r: r.lagged, len(made_P)),
        ]
    return found


def _same_stretch(*observations: Observation, columns: tuple[str, ...]) -> list[Array]:
    """Channels (P, C) of all, cut to the shortest."""
    every = [observation.channels(columns) for observation in observations]
    return [x_PC[: min(map(len, every))] for x_PC in every]
