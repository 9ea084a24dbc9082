"""Speech as networks of speech want it: the stretches that sound, at 16 kHz.

S samples
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import numpy as np
from scipy.signal import resample_poly

from avatar_lab.evaluation.plugin.protocol import Wave
from avatar_lab.events.segments import Segment, merge_close

RATE = 16_000


def speech_at_16k(
    audio_S: Wave, sample_rate: int, spans: Sequence[Segment], *, margin: float = 0.0, apart: float = 0.0
) -> Wave:
    """The stretches ``spans`` of a waveform in seconds, one after the other, at 16 kHz and within [-1, 1].

    Args:
        margin: seconds of what is before and after each stretch that are kept too.
        apart: seconds of silence after each stretch.
    """
    wider = [(max(start - margin, 0.0), end + margin) for start, end in spans]
    pause_S = np.zeros(round(apart * sample_rate), np.float32)
    pieces = [
        piece_S
        for start, end in merge_close(wider, min_gap=0.0)
        for piece_S in (audio_S[round(start * sample_rate) : round(end * sample_rate)], pause_S)
    ]
    joined_S = np.concatenate([np.zeros(0, np.float32), *pieces])
    if not len(joined_S):
        return joined_S
    shared = gcd(sample_rate, RATE)
    resampled_S = resample_poly(joined_S.astype(np.float64), RATE // shared, sample_rate // shared)
    return np.clip(resampled_S, -1.0, 1.0).astype(np.float32)
