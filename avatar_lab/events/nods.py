"""Nods from the curve of head pitch: an oscillation at 1-7 Hz with at least two alternating extrema.

The band holds both slow speaker nods and the fast listener nods of 2.6-6.5 Hz (Hale et al. 2020, J. Nonverbal Behavior
44). The band-pass runs forwards and backwards (zero phase); it finds the oscillation. The onset is read from the curve
itself, since a zero-phase filter also rings ahead of the first movement.

    P video frames
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, find_peaks, sosfiltfilt

from avatar_lab.event_types import Event, EventType


@dataclass(frozen=True, kw_only=True)
class NodRule:
    """Parameters of the detector."""

    band: tuple[float, float] = (1.0, 7.0)
    """Hertz; the upper edge is lowered to 0.45 of the frame rate where that is less."""
    min_amplitude: float = 2.5
    """Smallest largest deflection of the band-passed pitch that makes a nod, in degrees."""
    edge_share: float = 0.3
    """Extrema smaller than this share of the largest are no part of the nod."""
    min_extrema: int = 2
    seconds: tuple[float, float] = (0.2, 1.5)
    """Shorter oscillations are jitter; longer ones are cut into nods no longer than this."""
    onset_share: float = 0.1
    """A nod starts where the first large deflection has covered this share of its way."""


def band_passed(pitch_P: np.ndarray, fps: float, rule: NodRule) -> np.ndarray:
    """Pitch within ``rule.band``, zero phase, (P,)."""
    low, high = rule.band
    sos = butter(2, [low, min(high, 0.45 * fps)], btype="band", fs=fps, output="sos")
    pad = min(len(pitch_P) - 1, round(fps))
    return sosfiltfilt(sos, pitch_P, padlen=pad) if len(pitch_P) > 1 else np.zeros_like(pitch_P)


def detect_nods(
    pitch_P: np.ndarray, fps: float, rule: NodRule | None = None, *, interaction: str = "", side: str = "a"
) -> list[Event]:
    """NOD events; ``strength`` is the largest deflection in degrees."""
    rule = rule or NodRule()
    rate = float(fps)
    pitch_P = np.asarray(pitch_P, np.float64)
    wave_P = band_passed(pitch_P, rate, rule)
    peaks = _alternating_extrema(wave_P, rule.min_amplitude * rule.edge_share)
    half_period = rate / rule.band[0] / 2
    events = []
    for group in np.split(peaks, np.flatnonzero(np.diff(peaks) > half_period) + 1):
        for nod in _nods_of_group(wave_P, group, rate, rule):
            start = _onset(pitch_P, wave_P, nod, rule, reach=round(half_period)) / rate
            end = min(len(wave_P), nod[-1] + _quarter_wave(nod)) / rate
            strength = float(np.abs(wave_P[nod]).max())
            if strength >= rule.min_amplitude and end - start >= rule.seconds[0]:
                event = Event(
                    interaction=interaction, side=side, type=EventType.NOD, start=start, end=end, strength=strength
                )
                events.append(event)
    return events


def _alternating_extrema(wave_P: np.ndarray, floor: float) -> np.ndarray:
    """Indices of extrema beyond ``floor``, one per half wave."""
    found = np.sort(np.concatenate([find_peaks(sign * wave_P, height=floor)[0] for sign in (1, -1)]))
    keep: list[int] = []
    for index in found:
        if keep and np.sign(wave_P[keep[-1]]) == np.sign(wave_P[index]):
            if abs(wave_P[index]) > abs(wave_P[keep[-1]]):
                keep[-1] = int(index)
        else:
            keep.append(int(index))
    return np.asarray(keep, np.int64)


def _nods_of_group(wave_P: np.ndarray, peaks: np.ndarray, rate: float, rule: NodRule) -> list[np.ndarray]:
    """Extrema of each nod in one uninterrupted oscillation."""
    nods: list[np.ndarray] = []
    while len(peaks) >= rule.min_extrema:
        size = np.abs(wave_P[peaks])
        large = np.flatnonzero(size >= rule.edge_share * size.max())
        peaks = peaks[large[0] : large[-1] + 1]
        longest = rule.seconds[1] * rate - _quarter_wave(peaks)
        within = peaks[peaks - peaks[0] <= longest]
        if len(within) >= rule.min_extrema:
            nods.append(within)
        peaks = peaks[len(within) :]
    return nods


def _onset(pitch_P: np.ndarray, wave_P: np.ndarray, nod: np.ndarray, rule: NodRule, *, reach: int) -> float:
    """Frame (fractional) at which the first large deflection of ``nod`` left its foot."""
    size = np.abs(wave_P[nod])
    first = int(nod[np.flatnonzero(size >= 0.6 * size.max())[0]])
    begin = max(0, first - reach)
    rise = np.sign(wave_P[first]) * pitch_P[begin : first + 1]
    level = rise.min() + rule.onset_share * (rise[-1] - rise.min())
    below = np.flatnonzero(rise <= level)[-1]
    if below + 1 == len(rise):
        return float(first)
    return begin + below + (level - rise[below]) / (rise[below + 1] - rise[below])


def _quarter_wave(peaks: np.ndarray) -> float:
    """Frames from an extremum to the neighbouring zero crossing."""
    return float(np.median(np.diff(peaks))) / 2 if len(peaks) > 1 else 1.0
