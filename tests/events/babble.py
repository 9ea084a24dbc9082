"""Sound with the fluctuation of speech at known times: noise under a random envelope at syllable rate."""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, sosfilt

from avatar_lab.events.segments import Segment, covered_seconds

RATE = 24_000


def alternating(seconds: float, *, seed: int) -> dict[str, list[Segment]]:
    """Turns of two people, of one to five seconds with gaps of a fifth to half a second."""
    rng = np.random.default_rng(seed)
    spans: dict[str, list[Segment]] = {"a": [], "b": []}
    time, side = 0.5, "a"
    while time < seconds - 6:
        end = time + rng.uniform(1.0, 5.0)
        spans[side].append((time, end))
        time, side = end + rng.uniform(0.2, 0.5), "b" if side == "a" else "a"
    return spans


def babble(seconds: float, spans: list[Segment], *, seed: int, rate: int = RATE, level: float = 0.1) -> np.ndarray:
    """Mono (S,) float32; silence outside ``spans`` is faint noise."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * rate)
    slow = sosfilt(butter(2, [2.0, 6.0], btype="band", fs=100, output="sos"), rng.standard_normal(round(seconds * 100)))
    envelope = np.exp(1.5 * slow / slow.std())
    inside = covered_seconds(spans, rate=100, count=len(envelope)) * 100
    grown = np.interp(np.arange(samples) / rate, (np.arange(len(envelope)) + 0.5) / 100, envelope * inside)
    noise = rng.standard_normal(samples)
    return (level * np.minimum(grown, 4.0) / 4 * noise + 1e-4 * rng.standard_normal(samples)).astype(np.float32)


def with_bleed(wavs: dict[str, np.ndarray], *, isolation_db: float) -> dict[str, np.ndarray]:
    """Each microphone also hears the other person, this much lower."""
    gain = 10 ** (-isolation_db / 20)
    return {"a": wavs["a"] + gain * wavs["b"], "b": wavs["b"] + gain * wavs["a"]}


def late(wav_S: np.ndarray, seconds: float, *, rate: int = RATE) -> np.ndarray:
    """The same recording begun earlier (positive) or later, as long as before."""
    samples = round(seconds * rate)
    moved = np.zeros_like(wav_S)
    if samples >= 0:
        moved[samples:] = wav_S[: len(wav_S) - samples]
    else:
        moved[:samples] = wav_S[-samples:]
    return moved
