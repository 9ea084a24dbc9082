"""Energy voice activity detection with an adaptive threshold: waveform to speech segments, no weights.

A frame is active when its level exceeds the noise floor by a margin; the floor is the minimum of recent smoothed levels
(minimum statistics, Martin 2001). Every quantity looks back only, so the decision on a frame is final ``hangover``
seconds later; the segments themselves are cut back to the last active frame.

    S samples   R analysis frames
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from scipy.ndimage import minimum_filter1d

from avatar_lab.events.segments import Segment, merge_close, runs

_SILENT_DB = -100.0


class VoiceDetector(Protocol):
    """Any detector of voice: this file's, or a network (``silero.py``)."""

    def speech(self, wav_S: np.ndarray, sample_rate: int) -> list[Segment]:
        """Speech segments of a mono waveform in [-1, 1], in seconds."""

    def identity(self) -> dict[str, Any]:
        """All that its results depend on, as plain values."""


@dataclass(frozen=True, kw_only=True)
class VadRule:
    """Parameters of the energy detector, which is a ``VoiceDetector``; seconds and decibels relative to full scale."""

    frame: float = 0.01
    window: float = 0.02
    """Level is the RMS of the last ``window`` seconds."""
    floor_seconds: float = 5.0
    """The noise floor is the lowest level in this stretch of the past."""
    floor_range: tuple[float, float] = (-75.0, -45.0)
    """The floor is kept inside this range: digital silence is no measure of noise, and speech is no floor."""
    margin: float = 12.0
    absolute: float = -50.0
    """Nothing below this level is speech."""
    hangover: float = 0.1
    """Silences shorter than this do not end a segment."""
    min_speech: float = 0.06
    """Active stretches shorter than this are clicks."""

    def speech(self, wav_S: np.ndarray, sample_rate: int) -> list[Segment]:
        """Speech segments of a mono waveform."""
        return detect_speech(wav_S, sample_rate, self)

    def identity(self) -> dict[str, Any]:
        """Its parameters."""
        return asdict(self)


def detect_speech(
    wav_S: np.ndarray, sample_rate: int, rule: VadRule | None = None, *, foreign_R: np.ndarray | None = None
) -> list[Segment]:
    """Speech segments of a mono waveform in [-1, 1]; frames where ``foreign_R`` is True are somebody else's sound.

    Raises:
        ValueError: the waveform is not one-dimensional.
    """
    rule = rule or VadRule()
    if wav_S.ndim != 1:
        raise ValueError(f"voice activity needs one mono waveform, got shape {tuple(wav_S.shape)}")
    level_R = frame_levels(wav_S, sample_rate, rule)
    size = max(1, round(rule.floor_seconds / rule.frame))
    # origin moves the window so that it ends at the current frame
    floor_R = minimum_filter1d(level_R, size, mode="nearest", origin=(size - 1) // 2)
    threshold_R = np.maximum(np.clip(floor_R, *rule.floor_range) + rule.margin, rule.absolute)
    active_R = level_R > threshold_R
    active = runs(active_R if foreign_R is None else active_R & ~foreign_R)
    # An RMS window that just touches speech is active up to one window after it ended.
    late = rule.window - rule.frame
    segments = [
        (start * rule.frame, max(end * rule.frame - late, (start + 1) * rule.frame)) for start, end in active.tolist()
    ]
    joined = merge_close(segments, min_gap=rule.hangover)
    return [(start, end) for start, end in joined if end - start >= rule.min_speech]


def frame_levels(wav_S: np.ndarray, sample_rate: int, rule: VadRule) -> np.ndarray:
    """Level in decibels of the last ``rule.window`` seconds at the end of every frame, (R,)."""
    hop = round(rule.frame * sample_rate)
    count = len(wav_S) // hop
    power_R = np.square(wav_S[: count * hop], dtype=np.float64).reshape(count, hop).mean(1)
    span = max(1, round(rule.window / rule.frame))
    total = np.cumsum(np.concatenate([np.zeros(span), power_R]))
    smooth_R = np.maximum(total[span:] - total[:-span], 0) / span
    return 10 * np.log10(smooth_R + 10 ** (_SILENT_DB / 10))
