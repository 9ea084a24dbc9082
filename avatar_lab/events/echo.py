"""Speech of the person near a microphone that also hears the other one from a loudspeaker.

An echo is quieter than its source by the return loss of the way and comes within a known time, so near speech is what
exceeds the loudest recent level of the far side less that loss (Geigel's double-talk rule; Duttweiler 1978, IEEE Trans.
Communications 26). Near speech that is quieter than that stays undetected while the far side speaks.

    S samples   R analysis frames
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import maximum_filter1d

from avatar_lab.events.segments import Segment
from avatar_lab.events.vad import VadRule, detect_speech, frame_levels


@dataclass(frozen=True, kw_only=True)
class EchoRule:
    """Parameters of the detector."""

    vad: VadRule = field(default_factory=VadRule)
    return_loss: float = 14.0
    """Decibels by which an echo is quieter than its source at least; 6 less than the loudest echo that is expected,
    since a room's response raises some frames."""
    reach: float = 0.5
    """Seconds after its source in which an echo may come: delay and reverberation."""


def detect_near_speech(
    near_S: np.ndarray, far_S: np.ndarray, sample_rate: int, rule: EchoRule | None = None
) -> list[Segment]:
    """Speech segments of ``near_S`` that are no echo of ``far_S``; both mono, equally long.

    Raises:
        ValueError: the waveforms differ in length, or are not one-dimensional.
    """
    rule = rule or EchoRule()
    if near_S.shape != far_S.shape:
        raise ValueError(f"near {near_S.shape} and far {far_S.shape} must be one recording, equally long")
    near_R, far_R = (frame_levels(wav, sample_rate, rule.vad) for wav in (near_S, far_S))
    size = max(1, round(rule.reach / rule.vad.frame))
    recent_R = maximum_filter1d(far_R, size, mode="constant", cval=far_R.min(initial=0.0), origin=(size - 1) // 2)
    return detect_speech(near_S, sample_rate, rule.vad, foreign_R=near_R <= recent_R - rule.return_loss)
