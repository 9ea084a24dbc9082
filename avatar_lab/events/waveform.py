"""A mono waveform that need not be in memory: an array, or a file that is read a stretch at a time.

S samples
"""

from __future__ import annotations

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
