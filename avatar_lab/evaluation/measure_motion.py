"""How one agent moved, looked and sounded in one conversation: seams, drift, variety, coupling to the user, voice.

P video frames   C reader channels
"""

from __future__ import annotations

import numpy as np

from avatar_lab.evaluation.finding import Finding, finding
from avatar_lab.evaluation.metric.coupling import coupling, relative_correlation
from avatar_lab.evaluation.metric.drift import drift, windowed
from avatar_lab.evaluation.metric.prosody import voice_identity
from avatar_lab.evaluation.metric.undefined import Array, Undefined
from avatar_lab.evaluation.metric.variety import jerk_ratio, seam_jerk, variance_ratio
from avatar_lab.evaluation.metric.voice import Voice
from avatar_lab.evaluation.metric.wclc import windowed_coupling
from avatar_lab.evaluation.observation import LOOK_EVERY, Observation, reaction_spans
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
        *_look_drift(observation, fps),
        Finding(
            metric="head_seam_jerk", value=seam_jerk(head_PC, block_frames=layout.frames_per_block), n=len(head_PC)
        ),
        finding("head_motion_drift", restless, lambda d: d.per_minute, lambda d: d.windows),
        finding("voice_level_drift", loud, lambda d: d.per_minute, lambda d: d.windows),
    ]


def _look_drift(observation: Observation, fps: float) -> list[Finding]:
    """Slow change of colours and sharpness, in percent per minute."""
    seen = observation.look
    found = []
    for name in ("luma", "saturation", "sharpness"):
        metric = f"{name}_drift"
        if seen is None:
            found.append(Finding(metric=metric, value=Undefined("the video is black, or was not looked at"), n=0))
            continue
        mean_W = windowed(getattr(seen, f"{name}_P"), rate=fps / LOOK_EVERY)
        if (mean_W <= 0).any():
            found.append(Finding(metric=metric, value=Undefined(f"a window has no {name}"), n=len(mean_W)))
            continue
        found.append(finding(metric, drift(100 * np.log(mean_W)), lambda d: d.per_minute, lambda d: d.windows))
    return found


def find_voice(observation: Observation, truth: Observation) -> list[Finding]:
    """Whether vocal reactions are in the avatar's own voice, which is that of the recorded person's speech."""
    reactions = reaction_spans(observation)
    if observation.voice is None or truth.voice is None:
        return [Finding(metric="reaction_voice_distance", value=Undefined("no waveform was heard"), n=0)]
    own_R = np.concatenate([np.zeros(0), *(truth.voice.during(*span).f0_R for span in truth.speech)])
    person = Voice(f0_R=own_R, level_R=np.zeros_like(own_R))
    distance = voice_identity(reactions, observation.voice, person)
    return [Finding(metric="reaction_voice_distance", value=distance, n=len(reactions))]


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
        moments = windowed_coupling(user_P, made_P, rate=fps)
        found += [
            finding(f"{name}_wclc", moments, lambda w: w.strength - w.chance, lambda w: w.windows),
            finding(f"{name}_coupling", own, lambda c: c.peak - c.chance, lambda c: c.windows),
            finding(f"{name}_rpcc", other, lambda r: r.lagged, len(made_P)),
        ]
    return found


def _same_stretch(*observations: Observation, columns: tuple[str, ...]) -> list[Array]:
    """Channels (P, C) of all, cut to the shortest."""
    every = [observation.channels(columns) for observation in observations]
    return [x_PC[: min(map(len, every))] for x_PC in every]
