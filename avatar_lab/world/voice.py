"""Source-filter voices: what makes one person sound unlike another, and waveforms from rows of ``VOICE_CHANNELS``.

Voiced sound is a train of glottal pulses, one impulse response of the vocal tract per pulse, added where the pulse
falls (pulse-synchronous overlap-add): F0 is exact, formants move smoothly, and the cost is one FFT per glottal cycle.
The tract is the classical cascade of resonators (Klatt 1980, JASA 67:971); noise is shaped per 10 ms frame, by the
tract where it is open (breath), by the constriction where it is narrow (fricatives); F1 tells.

    R  rows of 10 ms   Q  voice channels   P  glottal pulses   N  frequency bins
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from avatar_lab.world.tracks import VOICE_CHANNELS, VOICE_RATE

VOICED, NOISE, F0, FORMANT1, FORMANT2, FORMANT3, ENERGY = range(len(VOICE_CHANNELS))
_RESPONSE_SECONDS = 0.022
_SUBSAMPLES = 16
"""Pulses are placed to this fraction of a sample."""
HARMONIC_LEVEL = 0.12
"""RMS of a voiced sound at energy 1."""
NOISE_LEVEL = 0.045
_FLOOR = 3e-5
"""RMS of the noise floor of the recording, about one step of 16-bit audio."""
_AUDIBLE = 1e-3
_CEILING = 0.98


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One person's voice."""

    f0: float
    """Median fundamental frequency of speech in Hz."""
    f0_range: float
    """Half of the usual F0 excursion, in semitones."""
    tract_scale: float
    """Factor on all formants; a short vocal tract has a large one."""
    vowel_shift: tuple[float, float, float]
    """Personal factor on each of the three lowest formants."""
    formant4: float
    formant5: float
    bandwidth_scale: float
    tilt: float
    """Corner of the source spectrum in Hz, above which it falls by 12 dB per octave: low = soft, high = pressed."""
    breathiness: float
    """Noise that comes with voicing, in [0, 1]."""
    jitter: float
    """Relative standard deviation of the pulse intervals."""
    syllable_rate: float
    """Syllables per second."""
    loudness: float
    """Amplitude factor."""

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Voice:
        """A random person: F0 from 90 to 250 Hz, the vocal tract loosely following it."""
        height = rng.uniform()
        scale = 0.87 + 0.27 * height + rng.normal(0, 0.025)
        shift = np.exp(rng.normal(0, 0.035, 3))
        return cls(
            f0=float(90 * (250 / 90) ** height),
            f0_range=float(rng.uniform(2.6, 4.2)),
            tract_scale=float(scale),
            vowel_shift=(float(shift[0]), float(shift[1]), float(shift[2])),
            formant4=float(3500 * scale * np.exp(rng.normal(0, 0.04))),
            formant5=float(4600 * scale * np.exp(rng.normal(0, 0.04))),
            bandwidth_scale=float(rng.uniform(0.85, 1.35)),
            tilt=float(rng.uniform(800, 2600)),
            breathiness=float(rng.uniform(0.02, 0.2)),
            jitter=float(rng.uniform(0.001, 0.006)),
            syllable_rate=float(rng.uniform(4.0, 5.2)),
            loudness=float(rng.uniform(0.75, 1.15)),
        )


def synthesize(voice: Voice, voice_RQ: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Waveform of ``R * sample_rate / VOICE_RATE`` float32 samples inside (-1, 1).

    Raises:
        ValueError: the rows have the wrong columns, or ``sample_rate`` is not a whole number of samples per row.
    """
    if voice_RQ.ndim != 2 or voice_RQ.shape[1] != len(VOICE_CHANNELS):
        raise ValueError(f"voice rows must be (rows, {len(VOICE_CHANNELS)}) as in VOICE_CHANNELS, got {voice_RQ.shape}")
    if not len(voice_RQ):
        return np.zeros(0, dtype=np.float32)
    if sample_rate % VOICE_RATE:
        raise ValueError(f"sample_rate {sample_rate} is not a multiple of {VOICE_RATE} rows per second")
    length = len(voice_RQ) * sample_rate // VOICE_RATE
    bins = fft.next_fast_len(int(_RESPONSE_SECONDS * sample_rate), real=True)
    half = sample_rate // VOICE_RATE // 2
    white = rng.standard_normal(length + 4 * half, dtype=np.float32)
    wave = np.zeros(length + 2 * bins, dtype=np.float32)
    _add_pulses(wave, voice, voice_RQ, sample_rate, bins, rng)
    sound = wave[:length] + _breath(white, voice, voice_RQ, sample_rate)[half : half + length]
    wave = sound + _FLOOR * white[:length]
    return _CEILING * np.tanh(wave / _CEILING)


def _tract(voice: Voice, rows_PQ: np.ndarray, sample_rate: int, bins: int, widen: float = 1.0) -> np.ndarray:
    """Response of the five-formant cascade, (P, N) complex64: one over the product of its sections' polynomials."""
    polynomial = np.ones((len(rows_PQ), 1))
    nyquist = sample_rate / 2
    upper = np.broadcast_to([voice.formant4, voice.formant5], (len(rows_PQ), 2))
    formants = np.concatenate([rows_PQ[:, FORMANT1 : FORMANT3 + 1], upper], axis=1)
    for hertz in formants.T:
        bandwidth = widen * voice.bandwidth_scale * (60 + 0.035 * hertz)
        radius = np.exp(-np.pi * bandwidth / sample_rate)
        angle = np.pi * np.minimum(hertz, 0.95 * nyquist) / nyquist
        section = np.stack([np.ones_like(radius), -2 * radius * np.cos(angle), radius**2], axis=1)
        longer = np.zeros((len(rows_PQ), polynomial.shape[1] + 2))
        for tap in range(3):
            longer[:, tap : tap + polynomial.shape[1]] += section[:, tap : tap + 1] * polynomial
        polynomial = longer
    # double precision: near DC the sum of coefficients up to 200 cancels to 1e-5
    return (1 / fft.rfft(polynomial, bins, axis=1)).astype(np.complex64)


def _unit_energy(response_PN: np.ndarray) -> np.ndarray:
    power = (response_PN.real**2 + response_PN.imag**2).mean(axis=1, keepdims=True)
    return response_PN / np.sqrt(power)


def _add_pulses(
    wave: np.ndarray, voice: Voice, voice_RQ: np.ndarray, sample_rate: int, bins: int, rng: np.random.Generator
) -> None:
    rows = np.arange(len(voice_RQ), dtype=np.float64)
    cycles = np.cumsum(voice_RQ[:, F0].astype(np.float64)) / VOICE_RATE
    pulses = np.arange(np.floor(cycles[-1])) + 1.0
    # One row per pulse: what comes later does not change the noise of earlier pulses, so do() stays exact in the sound.
    wobble_P2 = rng.standard_normal((len(pulses), 2))
    when = np.interp(pulses + voice.jitter * wobble_P2[:, 0], cycles, rows)
    # phase is known at the end of a row, its other values hold for the middle
    amplitude = np.interp(when + 0.5, rows, voice_RQ[:, VOICED] * voice_RQ[:, ENERGY])
    sounding = amplitude > _AUDIBLE
    shimmer = 1 + 0.03 * wobble_P2[sounding, 1]
    when, amplitude = when[sounding], amplitude[sounding]
    if not len(when):
        return
    at_pulse = np.stack([np.interp(when + 0.5, rows, column) for column in voice_RQ.T], axis=1)
    delay = np.exp(-2j * np.pi * np.arange(bins // 2 + 1) / bins)
    hertz = np.arange(bins // 2 + 1) * sample_rate / bins
    # 12 dB per octave above the corner and the rise of 6 dB per octave by radiation at the lips
    source = (0.15 + 1j * hertz / 300) / ((1 + 1j * hertz / voice.tilt) * (1 + 1j * hertz / 300) ** 1.2)
    subsample = (delay[None] ** (np.arange(_SUBSAMPLES)[:, None] / _SUBSAMPLES) * source).astype(np.complex64)

    position = (when + 1) * sample_rate / VOICE_RATE
    start = np.floor(position).astype(np.int64)
    fraction = np.floor((position - start) * _SUBSAMPLES).astype(np.int64)
    response = _unit_energy(_tract(voice, at_pulse, sample_rate, bins) * subsample[fraction])
    gain = HARMONIC_LEVEL * voice.loudness * amplitude * shimmer * np.sqrt(sample_rate / at_pulse[:, F0])
    fade = np.minimum(1, np.arange(bins, 0, -1) / (0.2 * bins)).astype(np.float32)
    shapes = fft.irfft(response, bins, axis=1) * (gain[:, None] * fade).astype(np.float32)
    for begin, shape in zip(start.tolist(), shapes, strict=True):
        wave[begin : begin + bins] += shape


def _breath(white: np.ndarray, voice: Voice, voice_RQ: np.ndarray, sample_rate: int) -> np.ndarray:
    """Shaped noise, half a row ahead of the waveform: ``white`` in overlapping pieces, each with its row's spectrum."""
    sound = np.zeros_like(white)
    aspiration = 0.35 * voice.breathiness * voice_RQ[:, VOICED]
    amplitude = (voice_RQ[:, NOISE] + aspiration) * voice_RQ[:, ENERGY]
    active = np.flatnonzero(amplitude > _AUDIBLE)
    if not len(active):
        return sound
    rows = voice_RQ[active]
    hop = sample_rate // VOICE_RATE
    size = 2 * hop
    hertz = np.arange(hop + 1) * sample_rate / size
    friction = rows[:, NOISE] / (rows[:, NOISE] + aspiration[active])
    narrow = (friction / (1 + np.exp((rows[:, FORMANT1] - 430) / 40)))[:, None]
    centre = 1.9 * rows[:, FORMANT3 : FORMANT3 + 1]
    hiss = _unit_energy(1 / (1 + ((hertz - centre) / (0.3 * centre)) ** 2) + 0.02)
    breath = np.abs(_unit_energy(_tract(voice, rows, sample_rate, size, widen=2.0) * (hertz / (hertz + 800))))
    gain = NOISE_LEVEL * voice.loudness * amplitude[active, None]
    shape = ((narrow * hiss + (1 - narrow) * breath) * gain).astype(np.float32)

    window = np.sin(np.pi * (np.arange(size) + 0.5) / size).astype(np.float32)
    pieces = np.lib.stride_tricks.sliding_window_view(white, size)[active * hop] * window
    shaped = fft.irfft(fft.rfft(pieces, size, axis=1) * shape, size, axis=1) * window
    for row, piece in zip(active.tolist(), shaped, strict=True):
        sound[row * hop : row * hop + size] += piece
    return sound
