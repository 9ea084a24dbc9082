"""npz files that a data set brings along, read without trust: headers before arrays, no pickle, bounded memory."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from avatar_lab.data.schema.npy import DAMAGE, NpyHeader, check_announced, read_header
from data_prep.blob import Blob
from data_prep.manifest import SkipReason, SkipRecording

MAX_BYTES = 1 << 30
"""An array, or all that are asked for, that announce more are refused before they are read."""
MAX_ARRAYS = 4096
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What numpy writes."""
_DAMAGE = (*DAMAGE, OSError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError)


def array_headers(features: Blob, wanted: Callable[[str], bool]) -> dict[str, NpyHeader]:
    """Shapes and types of the arrays whose names are ``wanted``, in the order of the file; no array is read.

    Raises:
        SkipRecording: it is no npz file, or one of these has no header.
    """
    with _opened(features) as (archive, members):
        headers = {}
        for name, info in members.items():
            if info.filename.endswith(".npy") and wanted(name):
                with archive.open(info) as member:
                    headers[name] = read_header(member)
        return headers


def read_arrays(features: Blob, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named arrays of an npz file, those that it has.

    Raises:
        SkipRecording: it is no npz file, or an array is damaged, too large or would need to be unpickled.
    """
    with _opened(features) as (archive, members):
        chosen = {name: info for name, info in members.items() if name in names}
        total = sum(info.file_size for info in chosen.values())
        if total > MAX_BYTES:
            raise SkipRecording(SkipReason.TOO_LARGE, f"{features.name}: {len(chosen)} arrays of {total} bytes")
        found = {}
        for name, info in chosen.items():
            with archive.open(info) as member:
                check_announced(read_header(member), info.file_size - member.tell())
            with archive.open(info) as member:
                found[name] = np.lib.format.read_array(member, allow_pickle=False)
                if member.read(1):  # also makes zipfile compare the checksum, which it does at the end only
                    raise ValueError(f"{info.filename} is longer than its header says")
        return found


@contextmanager
def _opened(features: Blob) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """The archive and its members by the names of their arrays; damage met meanwhile is a skip."""
    try:
        with features.open() as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS:
                raise SkipRecording(SkipReason.TOO_LARGE, f"{features.name}: {len(members)} arrays")
            for info in members:
                if info.file_size > MAX_BYTES:
                    detail = f"{features.name}: {info.filename} {info.file_size} bytes"
                    raise SkipRecording(SkipReason.TOO_LARGE, detail)
                if info.compress_type not in _METHODS:
                    raise ValueError(f"{info.filename} is packed by method {info.compress_type}, not as numpy does")
            yield archive, {info.filename.removesuffix(".npy"): info for info in members}
    except _DAMAGE as error:
        raise SkipRecording(SkipReason.BAD_FEATURES, f"{features.name}: {error}") from error
