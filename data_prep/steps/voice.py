"""Step 3, voice: when each side speaks, by the configured detector, on the media clock."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from avatar_lab.events.segments import Segment
from avatar_lab.events.vad import VoiceDetector
from avatar_lab.events.waveform import Waveform
from data_prep.steps.store import StepResult

VERSION = 1


def find_voice(waveforms: Mapping[str, Waveform], *, sample_rate: int, detector: VoiceDetector) -> StepResult:
    """Arrays ``<side>.speech``: segments (n, 2) in seconds."""
    found = {side: detector.speech(wav_S, sample_rate) for side, wav_S in waveforms.items()}
    return StepResult(arrays={f"{side}.speech": as_array(segments) for side, segments in found.items()})


def as_array(segments: list[Segment]) -> np.ndarray:
    """Segments as stored, (n, 2) float64."""
    return np.asarray(segments, np.float64).reshape(-1, 2)


def as_segments(stored_n2: np.ndarray) -> list[Segment]:
    """Segments from their stored form."""
    return [(start, end) for start, end in stored_n2.tolist()]
