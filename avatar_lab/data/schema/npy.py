"""npy arrays in bytes that are not to be trusted: nothing is unpickled, and headers are checked before memory is set
aside for what they announce. They are written a stretch at a time, since they need not be in memory.

    N rows
"""

from __future__ import annotations

import io
import math
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any, Literal, Protocol

import numpy as np

DAMAGE = (
    ValueError,
    TypeError,
    EOFError,
    OverflowError,
    MemoryError,
    SyntaxError,
    RecursionError,
    tokenize.TokenError,
)
"""What numpy raises on headers that are none, or that announce more than there is."""
_LONGEST = 4096
"""Bytes of a header that is worth remembering."""
_PIECE = 4 << 20
"""Bytes that are written at once; a limit on memory."""
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Rows(Protocol):
    """An array (N, ...) that need not be in memory: any ``np.ndarray``, or a file that is read a stretch at a time."""

    @property
    def shape(self) -> tuple[Any, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def nbytes(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, span: slice, /) -> np.ndarray:
        """A stretch of rows."""


@dataclass(frozen=True, kw_only=True)
class NpyHeader:
    """What an array's header announces."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool = False
    """Columns first."""

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes]) -> NpyHeader:
    """The header at the beginning of ``file``, which stands behind it afterwards.

    Raises:
        DAMAGE: it is none.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"npy format {version} is not one that this package reads")
    shape, fortran, dtype = _HEADERS[version](file)
    return NpyHeader(shape=shape, dtype=dtype, fortran=fortran)


@lru_cache(maxsize=1024)
def _parsed(header: bytes) -> NpyHeader:
    """The same; numpy parses headers as Python, which costs more than to read the array, and samples repeat them."""
    return read_header(io.BytesIO(header))


def _header_of(raw: bytes) -> tuple[NpyHeader, int]:
    """The header of an array, and where it ends.

    Raises:
        DAMAGE: it is none.
    """
    width = 2 if raw[6:7] == b"\x01" else 4
    end = 8 + width + int.from_bytes(raw[8 : 8 + width], "little")
    if end > min(len(raw), _LONGEST):
        file = io.BytesIO(raw)
        return read_header(file), file.tell()
    return _parsed(raw[:end]), end


def check_announced(header: NpyHeader, there: int) -> None:
    """Refuse a header that announces other than the ``there`` bytes that follow it. Of pickled objects it cannot tell;
    those are refused when they are read.

    Raises:
        ValueError: with both sizes.
    """
    if not header.dtype.hasobject and header.nbytes != there:
        raise ValueError(f"its header announces {header.nbytes} bytes, {there} are there")


def npy_pieces(array: Rows) -> Iterator[bytes]:
    """An array as an npy file holds it, in consecutive pieces.

    Raises:
        ValueError: it would have to be pickled.
    """
    if array.dtype.hasobject:
        raise ValueError(f"an array of {array.dtype} is no numbers and would have to be pickled")
    header = io.BytesIO()
    form = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(header, form)
    yield header.getvalue()
    rows = max(1, _PIECE * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), rows):
        yield array[start : start + rows].tobytes()


def npy_bytes(array: Rows) -> bytes:
    """An array as an npy file holds it.

    Raises:
        ValueError: it would have to be pickled.
    """
    return b"".join(npy_pieces(array))


def read_npy(raw: bytes, *, where: str) -> np.ndarray:
    """Inverse of :func:`npy_bytes`; ``where`` names the array in messages.

    Raises:
        ValueError: the bytes are no array, hold other than the header announces, or would have to be unpickled.
    """
    try:
        header, end = _header_of(raw)
        check_announced(header, len(raw) - end)
        if header.dtype.hasobject:
            return np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)  # refuses it
        order: Literal["F", "C"] = "F" if header.fortran else "C"
        return np.ndarray(header.shape, header.dtype, buffer=raw, offset=end, order=order).copy(order="K")
    except DAMAGE as error:
        raise ValueError(f"{where}: {error}") from error
