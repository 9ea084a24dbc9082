"""A mono waveform that need not be in memory: an array, or a file that is read a stretch at a time.

S samples
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

PIECE = 1 << 20
"""Samples that are looked at at once; a limit on memory."""


class Waveform(Protocol):
    """(S,) float32 in [-1, 1]; any ``np.ndarray`` of one dimension is one."""

    @property
    def ndim(self) -> int:
        """1, or it is no mono waveform."""

    def __len__(self) -> int:
        """Samples."""

    def __getitem__(self, span: slice, /) -> np.ndarray:
        """The samples of a stretch."""


def pieces(wav_S: Waveform) -> Iterator[np.ndarray]:
    """All of it in order, ``PIECE`` samples at a time."""
    for start in range(0, len(wav_S), PIECE):
        yield wav_S[start : start + PIECE]
