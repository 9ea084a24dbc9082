"""F0 and level of a voice every 10 ms, the representation of all prosody metrics.

F0 is the tiny audio codec's own tracker (normalised autocorrelation, Talkin 1995), which looks at the last 25 ms; a
frame counts as voiced half-way up the codec's gate of clarity.

    S samples   R frames of 10 ms
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from avatar_lab.codec.acoustic_features import F0_REFERENCE, AcousticFeatures
from avatar_lab.evaluation.metric.undefined import Array
from avatar_lab.events.vad import VadRule, frame_levels

RATE = 100
VOICED = 0.55
"""Periodicity from which a frame is voiced."""
QUIET_DB = -60.0
"""Frames below this are silence and have no F0, whatever their period."""
SEMITONES = 12.0
_PIECE = 3000


@dataclass(frozen=True, kw_only=True)
class Voice:
    """Tracks of one voice: semitones from 150 Hz, NaN where unvoiced, and decibels relative to full scale."""

    f0_R: Array
    level_R: Array

    def during(self, start: float, end: float) -> Voice:
        """The frames of a span in seconds, cut at the edges of the recording."""
        first, last = max(0, round(start * RATE)), max(0, round(end * RATE))
        return Voice(f0_R=self.f0_R[first:last], level_R=self.level_R[first:last])

    @property
    def voiced_seconds(self) -> float:
        return float(np.isfinite(self.f0_R).sum() / RATE)

    def median_f0(self) -> float:
        """Median F0 of the voiced frames in semitones; there must be one."""
        return float(np.nanmedian(self.f0_R))

    def mean_level(self) -> float:
        """Mean level of the voiced frames; there must be one."""
        return float(self.level_R[np.isfinite(self.f0_R)].mean())


def track_voice(audio_S: NDArray[np.float32], sample_rate: int) -> Voice:
    """Tracks of a mono waveform in [-1, 1]; samples that are not finite are an error.

    Raises:
        ValueError: the waveform is not one-dimensional or not finite, or has a sample rate that the tracker cannot
            divide into frames of 10 ms.
    """
    if audio_S.ndim != 1:
        raise ValueError(f"F0 needs one mono waveform, got shape {audio_S.shape}")
    if not np.isfinite(audio_S).all():
        raise ValueError("the waveform is not finite everywhere; leave it out or repair it first")
    tracker = AcousticFeatures(sample_rate=sample_rate, hop=sample_rate // RATE, num_mels=20)
    if sample_rate % RATE or tracker.hop % tracker.decimation:
        raise ValueError(f"F0 at {sample_rate} Hz: resample to a rate like 16000, 24000 or 48000 Hz first")
    level_R = frame_levels(audio_S, sample_rate, VadRule())
    padded_S = functional.pad(torch.from_numpy(audio_S.astype(np.float32)), (tracker.context, 0))
    f0, frames = [np.zeros(0)], len(level_R)
    with torch.inference_mode():
        for start in range(0, frames, _PIECE):  # pieces that fit in memory, each with its past
            end = min(start + _PIECE, frames)
            octave_BR, clarity_BR = tracker.pitch(
                padded_S[None, start * tracker.hop : end * tracker.hop + tracker.context]
            )
            f0.append(torch.where(clarity_BR >= VOICED, SEMITONES * octave_BR, torch.nan)[0].double().numpy())
    return Voice(f0_R=np.where(level_R > QUIET_DB, np.concatenate(f0), np.nan), level_R=level_R)


def semitones(hertz: float) -> float:
    """Semitones from the reference, for figures given in Hz."""
    return float(SEMITONES * np.log2(hertz / F0_REFERENCE))
