"""Waveforms that are too long for memory, on disk while a recording is prepared.

The files have no name: however the process ends, nothing is left of them.

S samples
"""

from __future__ import annotations

import errno
import tempfile
import weakref
from pathlib import Path

import numpy as np

_BYTES = np.dtype(np.float32).itemsize


class ScratchWaveform:
    """(S,) float32, a ``Waveform``: silent where nothing was written. It goes when nothing refers to it any more.

    Args:
        folder: on a disk with room for 4 bytes a sample.
    """

    ndim = 1

    def __init__(self, folder: Path, samples: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._samples = folder, samples
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open as long as this object is there)
        weakref.finalize(self, self._file.close)
        self._file.truncate(samples * _BYTES)

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, span: slice, /) -> np.ndarray:
        """A copy of a stretch.

        Raises:
            ValueError: samples are to be left out between others.
        """
        start, stop, step = span.indices(self._samples)
        if step != 1:
            raise ValueError(f"a waveform on disk is read sample after sample, not every {step}")
        piece_S = np.empty(max(0, stop - start), np.float32)
        self._file.seek(start * _BYTES)
        self._file.readinto(piece_S.view(np.uint8).data)
        return piece_S

    def write(self, start: int, piece_S: np.ndarray) -> None:
        """Put samples at ``start``.

        Raises:
            ValueError: they reach beyond the end, or the disk is full.
        """
        if not 0 <= start <= start + len(piece_S) <= self._samples:
            raise ValueError(f"samples {start} to {start + len(piece_S)} of {self._samples}")
        try:
            self._file.seek(start * _BYTES)
            self._file.write(np.ascontiguousarray(piece_S, np.float32).data)
            self._file.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            needed = self._samples * _BYTES / 1e9
            raise ValueError(
                f"no room in {self._folder} for the sound of a recording, {needed:.1f} GB for each of its sides: free "
                "some, set work= to a folder on a larger disk, or use fewer workers"
            ) from error


class Beginning:
    """The first ``samples`` of a waveform, a ``Waveform``; nothing is read for it."""

    ndim = 1

    def __init__(self, whole: ScratchWaveform, samples: int) -> None:
        self._whole, self._samples = whole, min(samples, len(whole))

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, span: slice, /) -> np.ndarray:
        """A copy of a stretch."""
        return self._whole[slice(*span.indices(self._samples))]
