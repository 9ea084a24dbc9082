"""Voice activity by the Silero network (extra ``prepare``), behind the interface of ``vad.py``.

It tells speech from other sounds, which an energy detector cannot; the package carries its weights. The network reads
16 kHz in pieces of 32 ms and remembers, one pass from the first to the last.

    S samples   R pieces
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.signal import resample_poly

from avatar_lab.events.segments import Segment, merge_close, runs
from avatar_lab.events.waveform import PIECE, Waveform

_RATE = 16_000
_PIECE = 512
_WEIGHTS = "silero_vad.jit"


@dataclass(frozen=True, kw_only=True)
class SileroVad:
    """A ``VoiceDetector``; probabilities with hysteresis, then the rules of the energy detector."""

    threshold: float = 0.5
    """Speech reaches this probability ..."""
    release: float = 0.35
    """... and lasts as long as it is above this one."""
    hangover: float = 0.1
    """Silences shorter than this do not end a segment."""
    min_speech: float = 0.06
    """Shorter stretches are no speech."""

    def __post_init__(self) -> None:
        if not 0 < self.release <= self.threshold < 1:
            raise ValueError(f"{self} must satisfy 0 < release <= threshold < 1")
        _weights()

    def speech(self, wav_S: Waveform, sample_rate: int) -> list[Segment]:
        """Speech segments of a mono waveform in [-1, 1], to 32 ms.

        Raises:
            ValueError: the waveform is not one-dimensional.
        """
        if wav_S.ndim != 1:
            raise ValueError(f"voice activity needs one mono waveform, got {wav_S.ndim} dimensions")
        probability_R = _probabilities(wav_S, sample_rate)
        seconds = len(wav_S) / sample_rate
        likely = [(start, end) for start, end in runs(probability_R > self.release).tolist()]
        step = _PIECE / _RATE
        spans = [
            (start * step, min(end * step, seconds))
            for start, end in likely
            if probability_R[start:end].max() > self.threshold
        ]
        joined = merge_close(spans, min_gap=self.hangover)
        return [(start, end) for start, end in joined if end - start >= self.min_speech]

    def identity(self) -> dict[str, Any]:
        """Its parameters and the hash of its weights."""
        return asdict(self) | {"silero": _fingerprint()}


@torch.inference_mode()
def _probabilities(wav_S: Waveform, sample_rate: int) -> np.ndarray:
    """Probability of speech in every piece of 32 ms, (R,)."""
    network = _network()
    network.reset_states()
    pieces = (torch.from_numpy(piece_1S) for pieces_R1S in _resampled(wav_S, sample_rate) for piece_1S in pieces_R1S)
    return np.fromiter((float(network(piece_1S, _RATE)) for piece_1S in pieces), np.float64)


def _resampled(wav_S: Waveform, sample_rate: int) -> Iterator[np.ndarray]:
    """The waveform as the network reads it, stretches of pieces (r, 1, S); the last piece ends in silence.

    The same as resampled whole, to the bit: each stretch is resampled with all that the filter reaches around it.
    """
    shared = gcd(sample_rate, _RATE)
    up, down = _RATE // shared, sample_rate // shared
    reach = 10 * down  # resample_poly's filter ends 10 samples of the lower rate from its centre
    stretch = down * _PIECE * max(1, PIECE // (down * _PIECE))
    for start in range(0, len(wav_S), stretch):
        early = min(reach, start)
        around_S = resample_poly(wav_S[start - early : start + stretch + reach], up, down).astype(np.float32)
        inner_S = around_S[early // down * up :][: stretch // down * up]
        yield np.pad(inner_S, (0, -len(inner_S) % _PIECE)).reshape(-1, 1, _PIECE)


@cache
def _network() -> Any:
    with warnings.catch_warnings():  # the package ships TorchScript, which recent versions of torch warn about
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.load(str(_weights()), map_location="cpu").eval()


@cache
def _fingerprint() -> str:
    return sha256(_weights().read_bytes()).hexdigest()


def _weights() -> Path:
    """The network's file; its package is not imported, since that would set the number of torch's threads."""
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        raise ValueError(
            "the Silero voice detector is not installed: pip install 'avatar-lab[prepare]' or choose VadRule"
        )
    path = Path(spec.origin).parent / "data" / _WEIGHTS
    if not path.is_file():
        raise ValueError(f"silero-vad has no {path.name}: pip install --force-reinstall 'silero-vad>=6.2'")
    return path
