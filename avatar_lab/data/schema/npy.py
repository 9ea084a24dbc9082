"""npy arrays in bytes that are not to be trusted: nothing is unpickled, and headers are checked before memory is set
aside for what they announce."""

from __future__ import annotations

import io
import math
import tokenize
from dataclasses import dataclass
from typing import IO

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
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True, kw_only=True)
class NpyHeader:
    """What an array's header announces."""

    shape: tuple[int, ...]
    dtype: np.dtype

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
    shape, _, dtype = _HEADERS[version](file)
    return NpyHeader(shape=shape, dtype=dtype)


def check_announced(header: NpyHeader, there: int) -> None:
    """Refuse a header that announces other than the ``there`` bytes that follow it. Of pickled objects it cannot tell;
    those are refused when they are read.

    Raises:
        ValueError: with both sizes.
    """
    if not header.dtype.hasobject and header.nbytes != there:
        raise ValueError(f"its header announces {header.nbytes} bytes, {there} are there")


def npy_bytes(array: np.ndarray) -> bytes:
    """An array as an npy file holds it.

    Raises:
        ValueError: it would have to be pickled.
    """
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def read_npy(raw: bytes, *, where: str) -> np.ndarray:
    """Inverse of :func:`npy_bytes`; ``where`` names the array in messages.

    Raises:
        ValueError: the bytes are no array, hold other than the header announces, or would have to be unpickled.
    """
    try:
        buffer = io.BytesIO(raw)
        check_announced(read_header(buffer), len(raw) - buffer.tell())
        return np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    except DAMAGE as error:
        raise ValueError(f"{where}: {error}") from error
