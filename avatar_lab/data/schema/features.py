"""Arrays that a data set brings along (face parameters, poses, expressions), as a shard sample holds them.

The optional member ``<side>.features.npz`` holds ``seconds`` (R,), the media time of every row, and the arrays (R, ...)
under the data set's own names, in its own types and at its own rate. Nothing is resampled or filled in: what is NaN
stays NaN, and where the data set has no row there is none. Entries are not compressed: parameters of faces hardly get
smaller, the bytes are the same on every machine, and no reader unpacks more than it sees.

    R rows   P frames on the layout's grid
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from avatar_lab.data.schema.npy import npy_bytes, read_npy
from avatar_lab.data.schema.time_axis import MAX_HOLD, row_at

FEATURES_MEMBER = "features.npz"
SECONDS = "seconds"
"""Name of the rows' times, which no array of a data set may take."""
NAME_PATTERN = re.compile(r"(?!seconds$)[A-Za-z0-9_][A-Za-z0-9_:.+-]{0,127}(?<!\.npy)")
"""Names of arrays; never paths."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class SideFeatures:
    """The arrays of one participant."""

    seconds: np.ndarray
    """(R,) float64, media time of every row, not decreasing."""
    arrays: Mapping[str, np.ndarray]
    """(R, ...) by name; numbers or truth values."""

    @property
    def nbytes(self) -> int:
        return int(self.seconds.nbytes) + sum(array.nbytes for array in self.arrays.values())

    @property
    def period(self) -> float:
        """Typical seconds from row to row; 0 where there is only one."""
        return float(np.median(np.diff(self.seconds))) if len(self.seconds) > 1 else 0.0

    def at(self, seconds_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The row that holds at each of ``seconds_P`` (P,), and whether there is one (P,): a row holds until the next
        one, as a frame of a video is shown, but no longer than ``MAX_HOLD`` or the typical distance of rows."""
        return row_at(self.seconds, seconds_P, hold=max(MAX_HOLD, self.period))


@dataclass(frozen=True, kw_only=True, order=True)
class FeatureForm:
    """What one array looks like: its rows have this type and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}{list(self.shape)}"


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether ``name`` is one of ``patterns``, in which ``*`` stands for anything (``movement:*``)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def forms_of(features: SideFeatures) -> list[FeatureForm]:
    """Forms of all arrays, by name."""
    return sorted(FeatureForm(name=n, dtype=str(a.dtype), shape=a.shape[1:]) for n, a in features.arrays.items())


def check_features(features: SideFeatures, *, where: str) -> None:
    """Refuse what is no set of arrays over one time axis.

    Raises:
        ValueError: with the array's name and what is wrong with it.
    """
    seconds = features.seconds
    if (
        seconds.dtype != np.float64
        or seconds.ndim != 1
        or not np.isfinite(seconds).all()
        or (np.diff(seconds) < 0).any()
    ):
        raise ValueError(
            f"{where}: {SECONDS} must be one row of finite, not decreasing float64: prepare the data again"
        )
    for name, array in features.arrays.items():
        if not NAME_PATTERN.fullmatch(name):
            raise ValueError(f"{where}: {name!r} is no name of an array")
        if array.dtype.kind not in "fiub" or array.ndim < 1 or len(array) != len(seconds):
            raise ValueError(
                f"{where}: {name} is {array.dtype}{array.shape}; it must be numbers with {len(seconds)} rows: prepare "
                "the data again"
            )


def features_bytes(features: SideFeatures) -> bytes:
    """The member's bytes: an npz file that ``numpy.load`` reads."""
    check_features(features, where=FEATURES_MEMBER)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in ((SECONDS, features.seconds), *sorted(features.arrays.items())):
            info = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            info.create_system = 3  # else it says which system wrote it
            archive.writestr(info, npy_bytes(array))
    return buffer.getvalue()


def read_features(raw: bytes, *, where: str, names: Collection[str] | None = None) -> SideFeatures:
    """Inverse of :func:`features_bytes`; of the arrays only those in ``names``, ``None`` for all.

    Raises:
        ValueError: the bytes are no such file.
    """
    entries: dict[str, bytes] = {}
    left = len(raw)
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if names is None or name == SECONDS or name in names:
                    left -= info.file_size
                    if info.compress_type != zipfile.ZIP_STORED or left < 0:
                        raise ValueError(f"entry {info.filename!r} is packed, or in the file more than once")
                    entries[name] = archive.read(info)
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, RuntimeError) as error:
        raise ValueError(f"{where}: {error}") from error
    if SECONDS not in entries:
        raise ValueError(f"{where} lacks the times of its rows ({SECONDS})")
    arrays = {name: read_npy(entry, where=f"{where}, {name}") for name, entry in entries.items()}
    found = SideFeatures(seconds=arrays.pop(SECONDS), arrays=arrays)
    check_features(found, where=where)
    return found
