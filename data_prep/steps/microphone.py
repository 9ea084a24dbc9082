"""What lies between a person and the partner's machine: loudspeaker echo, room, noise, lost packets; pure functions.

S samples   M samples of a room's response
"""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve, lfilter

_BLOCK = 1 << 20
"""Samples convolved at once; a limit on memory."""
_PACKET = 0.02
"""Seconds of sound in a packet of a call."""
COLOURS = ("white", "pink", "brown")


def room_response(rng: np.random.Generator, *, seconds: float, sample_rate: int) -> np.ndarray:
    """Diffuse response (M,) of unit energy: noise that decays by 60 dB in ``seconds`` (Polack 1988)."""
    time_M = np.arange(max(1, round(1.2 * seconds * sample_rate))) / sample_rate
    response_M = rng.standard_normal(len(time_M)) * 10 ** (-3 * time_M / seconds)
    return (response_M / np.linalg.norm(response_M)).astype(np.float32)


def convolved(wav_S: np.ndarray, response_M: np.ndarray) -> np.ndarray:
    """The waveform through a response, as long as it was."""
    out_S = np.zeros(len(wav_S) + len(response_M) - 1, np.float32)
    for start in range(0, len(wav_S), _BLOCK):
        block = wav_S[start : start + _BLOCK]
        out_S[start : start + len(block) + len(response_M) - 1] += fftconvolve(block, response_M)
    return out_S[: len(wav_S)]


def echo(far_S: np.ndarray, *, decibels: float, delay: float, response_M: np.ndarray, sample_rate: int) -> np.ndarray:
    """What a microphone hears of ``far_S`` played by a loudspeaker beside it, ``delay`` seconds later."""
    late = round(delay * sample_rate)
    heard_S = np.zeros(len(far_S), np.float32)
    heard_S[late:] = convolved(far_S, response_M)[: max(0, len(far_S) - late)]
    return heard_S * np.float32(10 ** (decibels / 20))


def reverberated(wav_S: np.ndarray, *, response_M: np.ndarray, direct: float) -> np.ndarray:
    """Direct sound plus reverberation whose energy is ``direct`` decibels lower."""
    return wav_S + np.float32(10 ** (-direct / 20)) * convolved(wav_S, response_M)


def coloured_noise(rng: np.random.Generator, count: int, *, colour: str, sample_rate: int) -> np.ndarray:
    """Noise (S,) of about unit RMS whose power falls with frequency f as 1 (white), 1/f (pink) or 1/f^2 (brown).

    Pink: filter of third order (Smith, Spectral Audio Signal Processing, "Pink noise"); brown: integrator that leaks
    below 20 Hz.
    """
    filters = {
        "white": ([1.0], [1.0]),
        "pink": ([0.049922035, -0.095993537, 0.050612699, -0.004408786], [1, -2.494956002, 2.017265875, -0.522189400]),
        "brown": ([1.0], [1, -np.exp(-2 * np.pi * 20 / sample_rate)]),
    }
    numerator, denominator = filters[colour]
    impulse = np.zeros(sample_rate)
    impulse[0] = 1.0
    gain = np.linalg.norm(lfilter(numerator, denominator, impulse))
    noise_S = lfilter(numerator, denominator, rng.standard_normal(count, dtype=np.float32))
    return (noise_S / gain).astype(np.float32)


def lose_packets(wav_S: np.ndarray, rng: np.random.Generator, *, rate: float, sample_rate: int) -> np.ndarray:
    """Bursts of one to three packets are missing, ``rate`` a second: silent, or the packet before them repeated."""
    packet = round(_PACKET * sample_rate)
    count = len(wav_S) // packet
    out_S = wav_S.copy()
    for first in np.flatnonzero(rng.random(count) < rate * _PACKET).tolist():
        burst, repeats = int(rng.integers(1, 4)), bool(rng.integers(2))
        before = wav_S[max(0, first - 1) * packet : max(0, first - 1) * packet + packet]
        for lost in range(first, min(first + burst, count)):
            out_S[lost * packet : (lost + 1) * packet] = before if repeats else 0
    return out_S
