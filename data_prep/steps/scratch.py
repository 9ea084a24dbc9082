"""Arrays that are too long for memory, in files that are read a stretch at a time.

Scratch files have no name: however the process ends, nothing is left of them.

N rows; of a waveform: samples
"""

from __future__ import annotations

import errno
import math
import tempfile
import weakref
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import DTypeLike


class FileRows:
    """An array (N, ...) that begins at ``offset`` of an open file: ``Rows``, and with one axis a ``Waveform``."""

    def __init__(
        self, file: IO[bytes], shape: tuple[int, ...], dtype: DTypeLike = np.float32, *, offset: int = 0
    ) -> None:
        self._file, self._offset = file, offset
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._row_bytes = math.prod(shape[1:]) * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return len(self) * self._row_bytes

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, span: slice, /) -> np.ndarray:
        """A copy of a stretch of rows.

        Raises:
            ValueError: rows are to be left out between others, or the file ends before them.
        """
        start, stop, step = span.indices(len(self))
        if step != 1:
            raise ValueError(f"an array on disk is read row after row, not every {step}")
        count = max(0, stop - start)
        self._file.seek(self._offset + start * self._row_bytes)
        raw = self._file.read(count * self._row_bytes)
        if len(raw) < count * self._row_bytes:
            raise ValueError(f"the file ends before row {stop}: delete the work folder and prepare again")
        return np.frombuffer(raw, self.dtype).reshape(count, *self.shape[1:]).copy()


class ScratchArray(FileRows):
    """An array in a file of its own, zero where nothing was written; it goes when nothing refers to it any more.

    Args:
        folder: on a disk with room for it.
        shape: (N, ...), which ``append`` makes longer.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (open as long as this object is there)
        weakref.finalize(self, file.close)
        super().__init__(file, shape, dtype)
        self._folder = folder
        file.truncate(self.nbytes)

    def append(self, rows: np.ndarray) -> None:
        """Add rows (n, ...) at the end.

        Raises:
            ValueError: as ``write``.
        """
        start = len(self)
        self.shape = (start + len(rows), *self.shape[1:])
        self.write(start, rows)

    def write(self, start: int, rows: np.ndarray) -> None:
        """Put rows (n, ...) at ``start``.

        Raises:
            ValueError: they reach beyond the end or have another shape, or the disk is full.
        """
        if not 0 <= start <= start + len(rows) <= len(self) or rows.shape[1:] != self.shape[1:]:
            raise ValueError(f"rows {start} to {start + len(rows)} of shape {rows.shape[1:]} do not fit {self.shape}")
        try:
            self._file.seek(start * self._row_bytes)
            self._file.write(np.ascontiguousarray(rows, self.dtype).data)
            self._file.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ValueError(
                f"no room in {self._folder} for sound or latents of a recording, {self.nbytes / 1e9:.1f} GB for one of "
                "its sides: free some, set work= to a folder on a larger disk, or use fewer workers"
            ) from error


class Beginning:
    """The first ``samples`` of a waveform, a ``Waveform``; nothing is read for it."""

    ndim = 1

    def __init__(self, whole: FileRows, samples: int) -> None:
        self._whole, self._samples = whole, min(samples, len(whole))

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, span: slice, /) -> np.ndarray:
        """A copy of a stretch."""
        return self._whole[slice(*span.indices(self._samples))]
