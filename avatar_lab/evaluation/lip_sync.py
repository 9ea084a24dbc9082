"""Does the mouth move with the avatar's own voice? Max-lag correlation of mouth opening and speech envelope.

A weight-free stand-in for SyncNet's distance (Chung & Zisserman 2016): at each lag, Pearson's r between the jaw read
from the pixels and the amplitude envelope of the decoded audio, over frames in which the avatar speaks; the largest r
and its lag are reported. The maximum over lags is biased upwards on unrelated signals, so read it beside the frozen
agent, not against 0.

    P video frames   S audio samples
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_LAG_SECONDS = 0.32
MIN_SPEECH_SECONDS = 1.0
MARGIN_SECONDS = 0.12
"""Closures before and after a stretch of speech belong to it."""
STILL = 1e-6


@dataclass(frozen=True, kw_only=True)
class LipSync:
    """Correlation and the lag at which it is reached; positive = the mouth follows the sound."""

    correlation: float
    lag_ms: float
    frames: int


def envelope(audio_S: NDArray[np.float32], samples_per_frame: int) -> Array:
    """Root mean square amplitude per video frame, (P,); a last part frame is dropped."""
    frames = len(audio_S) // samples_per_frame
    cut = audio_S[: frames * samples_per_frame].reshape(frames, samples_per_frame).astype(np.float64)
    return np.sqrt((cut**2).mean(1))


def speech_frames(segments: list[tuple[float, float]], num_frames: int, fps: float) -> NDArray[np.bool_]:
    """Frames that lie in a speech segment or within a margin of it."""
    mask_P = np.zeros(num_frames, dtype=bool)
    for start, end in segments:
        mask_P[max(0, int((start - MARGIN_SECONDS) * fps)) : max(0, int((end + MARGIN_SECONDS) * fps) + 1)] = True
    return mask_P


def lip_sync(jaw_P: Array, envelope_P: Array, speaking_P: NDArray[np.bool_], fps: float) -> LipSync | None:
    """Correlation over the speaking frames; ``None`` if there is too little speech or a signal does not move."""
    num = min(len(jaw_P), len(envelope_P), len(speaking_P))
    jaw_P, envelope_P, speaking_P = jaw_P[:num], envelope_P[:num], speaking_P[:num]
    reach = round(MAX_LAG_SECONDS * fps)
    index_N = np.flatnonzero(speaking_P)
    index_N = index_N[(index_N >= reach) & (index_N < num - reach)]
    if len(index_N) < MIN_SPEECH_SECONDS * fps:
        return None
    lags = np.arange(-reach, reach + 1)
    sound_N = envelope_P[index_N] - envelope_P[index_N].mean()
    mouth_LN = jaw_P[index_N[None, :] + lags[:, None]]
    mouth_LN = mouth_LN - mouth_LN.mean(1, keepdims=True)
    if sound_N.std() < STILL or mouth_LN.std() < STILL:
        return None
    scale_L = np.sqrt((mouth_LN**2).sum(1) * (sound_N**2).sum()).clip(1e-12)
    r_L = mouth_LN @ sound_N / scale_L
    best = int(r_L.argmax())
    return LipSync(
        correlation=float(r_L[best]),
        lag_ms=float((lags[best] + _vertex(r_L, best)) * 1000 / fps),
        frames=len(index_N),
    )


def _vertex(r_L: Array, best: int) -> float:
    """Sub-frame offset of the maximum, by the parabola through its neighbours."""
    if best in (0, len(r_L) - 1):
        return 0.0
    left, middle, right = r_L[best - 1 : best + 2]
    curvature = left - 2 * middle + right
    return float(0.5 * (left - right) / curvature) if curvature < 0 else 0.0
