"""Energy voice activity detection with an adaptive threshold: waveform to speech segments, no weights.

A frame is active when its level exceeds the noise floor by a margin; the floor is the minimum of recent smoothed levels
(minimum statistics, Martin 2001). Every quantity looks back only, so the decision on a frame is final ``hangover``
seconds later; the segments themselves are cut back to the last active frame.

    S samples   R analysis frames
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from scipy.ndimage import minimum_filter1d

from avatar_lab.events.segments import Segment, merge_close, runs
from avatar_lab.events.waveform import PIECE, Waveform

_SILENT_DB = -100.0


class VoiceDetector(Protocol):
    """Any detector of voice: this file's, or a network (``silero.py``)."""

    def speech(self, wav_S: Waveform, sample_rate: int) -> list[Segment]:
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

    def speech(self, wav_S: Waveform, sample_rate: int) -> list[Segment]:
        """Speech segments of a mono waveform."""
        return detect_speech(wav_S, sample_rate, self)

    def identity(self) -> dict[str, Any]:
        """Its parameters."""
        return asdict(self)


def detect_speech(
    wav_S: Waveform, sample_rate: int, rule: VadRule | None = None, *, foreign_R: np.ndarray | None = None
) -> list[Segment]:
    """Speech segments of a mono waveform in [-1, 1]; frames where ``foreign_R`` is True are somebody else's sound.

    Raises:
        ValueError: the waveform is not one-dimensional.
    """
    rule = rule or VadRule()
    if wav_S.ndim != 1:
        raise ValueError(f"voice activity needs one mono waveform, got {wav_S.ndim} dimensions")
    active_R = np.concatenate([np.zeros(0, bool), *_active(wav_S, sample_rate, rule)])
    active = runs(active_R if foreign_R is None else active_R & ~foreign_R)
    # An RMS window that just touches speech is active up to one window after it ended.
    late = rule.window - rule.frame
    segments = [
        (start * rule.frame, max(end * rule.frame - late, (start + 1) * rule.frame)) for start, end in active.tolist()
    ]
    joined = merge_close(segments, min_gap=rule.hangover)
    return [(start, end) for start, end in joined if end - start >= rule.min_speech]


def frame_levels(wav_S: Waveform, sample_rate: int, rule: VadRule) -> np.ndarray:
    """Level in decibels of the last ``rule.window`` seconds at the end of every frame, (R,)."""
    return np.concatenate([np.zeros(0), *_levels(wav_S, sample_rate, rule)])


def _active(wav_S: Waveform, sample_rate: int, rule: VadRule) -> Iterator[np.ndarray]:
    """Whether each frame's level exceeds the threshold, piece by piece."""
    size = max(1, round(rule.floor_seconds / rule.frame))
    past_R = np.zeros(0)
    for level_R in _levels(wav_S, sample_rate, rule):
        seen_R = np.concatenate([past_R, level_R])
        # origin moves the window so that it ends at the current frame
        floor_R = minimum_filter1d(seen_R, size, mode="nearest", origin=(size - 1) // 2)[len(past_R) :]
        yield level_R > np.maximum(np.clip(floor_R, *rule.floor_range) + rule.margin, rule.absolute)
        past_R = seen_R[max(0, len(seen_R) - size + 1) :].copy()


def _levels(wav_S: Waveform, sample_rate: int, rule: VadRule) -> Iterator[np.ndarray]:
    """``frame_levels`` piece by piece, to the bit: the running sum goes on from piece to piece."""
    hop = round(rule.frame * sample_rate)
    count, at_once = len(wav_S) // hop, max(1, PIECE // hop)
    span = max(1, round(rule.window / rule.frame))
    total = np.zeros(span)  # at the last frames of the piece before
    for first in range(0, count, at_once):
        piece_S = wav_S[first * hop : min(first + at_once, count) * hop]
        power_R = np.square(piece_S, dtype=np.float64).reshape(-1, hop).mean(1)
        total = np.concatenate([total[:-1], np.cumsum(np.concatenate([total[-1:], power_R]))])
        smooth_R = np.maximum(total[span:] - total[:-span], 0) / span
        yield 10 * np.log10(smooth_R + 10 ** (_SILENT_DB / 10))
        total = total[-span:]
