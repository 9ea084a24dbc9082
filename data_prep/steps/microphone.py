"""What lies between a person and the partner's machine: loudspeaker echo, room, noise, lost packets.

Sound comes in pieces of equal lengths (``waveform.pieces``), so that effects can be added up and none is held whole.

S samples   M samples of a room's response   P packets
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.signal import fftconvolve, lfilter

from avatar_lab.events.waveform import PIECE, Waveform, pieces
from data_prep.steps.scratch import ScratchArray

_PACKET = 0.02
"""Seconds of sound in a packet of a call."""
_SILENT = -1
COLOURS = ("white", "pink", "brown")


def room_response(rng: np.random.Generator, *, seconds: float, sample_rate: int) -> np.ndarray:
    """Diffuse response (M,) of unit energy: noise that decays by 60 dB in ``seconds`` (Polack 1988)."""
    time_M = np.arange(max(1, round(1.2 * seconds * sample_rate))) / sample_rate
    response_M = rng.standard_normal(len(time_M)) * 10 ** (-3 * time_M / seconds)
    return (response_M / np.linalg.norm(response_M)).astype(np.float32)


def convolved(wav_S: Waveform, response_M: np.ndarray) -> Iterator[np.ndarray]:
    """The waveform through a response, as long as it was."""
    rest_M = np.zeros(len(response_M) - 1, np.float32)
    for piece_S in pieces(wav_S):
        out_S = np.zeros(len(piece_S) + len(rest_M), np.float32)
        out_S[: len(rest_M)] = rest_M
        out_S += fftconvolve(piece_S, response_M)
        yield out_S[: len(piece_S)]
        rest_M = out_S[len(piece_S) :]


def echo(
    far_S: Waveform, *, decibels: float, delay: float, response_M: np.ndarray, sample_rate: int
) -> Iterator[np.ndarray]:
    """What a microphone hears of ``far_S`` played by a loudspeaker beside it, ``delay`` seconds later."""
    gain = np.float32(10 ** (decibels / 20))
    held_S = np.zeros(round(delay * sample_rate), np.float32)
    for piece_S in convolved(far_S, response_M):
        line_S = np.concatenate([held_S, piece_S])
        yield line_S[: len(piece_S)] * gain
        held_S = line_S[len(piece_S) :]


def reverberation(wav_S: Waveform, *, response_M: np.ndarray, direct: float) -> Iterator[np.ndarray]:
    """What a room adds to the direct sound, whose energy is ``direct`` decibels higher."""
    gain = np.float32(10 ** (-direct / 20))
    for piece_S in convolved(wav_S, response_M):
        yield gain * piece_S


def coloured_noise(rng: np.random.Generator, count: int, *, colour: str, sample_rate: int) -> Iterator[np.ndarray]:
    """``count`` samples of noise of about unit RMS whose power falls with frequency f as 1 (white), 1/f (pink) or
    1/f^2 (brown).

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
    state = np.zeros(len(denominator) - 1)
    for start in range(0, count, PIECE):
        white_S = rng.standard_normal(min(PIECE, count - start), dtype=np.float32)
        noise_S, state = lfilter(numerator, denominator, white_S, zi=state)
        yield (noise_S / gain).astype(np.float32)


def lose_packets(wav_S: ScratchArray, rng: np.random.Generator, *, rate: float, sample_rate: int) -> None:
    """In place, bursts of one to three packets go missing, ``rate`` a second: silent, or the packet before repeated."""
    packet = round(_PACKET * sample_rate)
    sent_P = np.arange(len(wav_S) // packet)
    heard_P = sent_P.copy()
    for first in np.flatnonzero(rng.random(len(sent_P)) < rate * _PACKET).tolist():
        burst, repeats = int(rng.integers(1, 4)), bool(rng.integers(2))
        heard_P[first : first + burst] = max(0, first - 1) if repeats else _SILENT
    # Backwards: what is repeated came before, and is not overwritten yet.
    for lost in np.flatnonzero(heard_P != sent_P)[::-1].tolist():
        at = int(heard_P[lost]) * packet
        packet_S = np.zeros(packet, np.float32) if at < 0 else wav_S[at : at + packet]
        wav_S.write(lost * packet, packet_S)
