"""``report.parquet``: one row per recording, used or dropped, with all its figures side by side.

A figure that is not known is null: its step did not run, or the recording has no such stream. Never 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from avatar_lab.data.schema import SIDES

_ARROW = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
_ROWS_PER_GROUP = 4096


@dataclass(frozen=True, kw_only=True)
class SideRow:
    """Figures of one person in one recording; columns ``a_*`` and ``b_*``."""

    participant: str | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    sample_rate: int | None = None
    channels: int | None = None
    sound_after_picture: float | None = None
    """Start of the sound minus start of the picture by their timestamps, in seconds; already made up for."""
    speaking_seconds: float | None = None
    listening_seconds: float | None = None
    """In which the other speaks and this one does not hold the floor."""
    turns: int | None = None
    backchannels: int | None = None
    interruptions: int | None = None
    laughs: int | None = None
    voice_agreement: float | None = None
    face_from: str | None = None
    face_share: float | None = None
    face_stray: float | None = None
    isolation_db: float | None = None
    visible_events: int | None = None
    camera_off_seconds: float | None = None
    microphone_off_seconds: float | None = None
    feature_seconds: float | None = None
    """Of the recording, with rows of the data set's own arrays."""
    feature_rate: float | None = None
    feature_extra_rows: int | None = None
    """Beyond the frames of the video."""
    feature_keys: str | None = None
    features_left_out: str | None = None
    """Arrays, or the whole file, and why."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Figures of one recording."""

    interaction: str
    source: str
    group: str
    license: str
    non_commercial: bool
    split: str | None = None
    dropped: str | None = None
    """Why it is in no shard."""
    detail: str | None = None
    has_pictures: bool | None = None
    seconds: float | None = None
    speech_seconds: float | None = None
    """With either or both speaking."""
    overlap_seconds: float | None = None
    overlap_without_backchannels_seconds: float | None = None
    silence_seconds: float | None = None
    floor_transfers: int | None = None
    floor_transfer_offset_mean: float | None = None
    pause_mean: float | None = None
    shifts: int | None = None
    """Mutual silences between clear speech of two people, ``holds`` of one (``avatar_lab/events/shifts.py``)."""
    holds: int | None = None
    lag_seconds: float | None = None
    lag_confidence: float | None = None
    sides: dict[str, SideRow]

    def flat(self) -> dict[str, Any]:
        """Column names and values."""
        flat = {name: getattr(self, name) for name in _names(Row) if name != "sides"}
        for side in SIDES:
            flat |= {f"{side}_{name}": getattr(self.sides[side], name) for name in _names(SideRow)}
        return flat


def row_schema() -> pa.Schema:
    """Columns of ``report.parquet``."""
    columns = [(name, _ARROW[_plain(kind)]) for name, kind in get_type_hints(Row).items() if name != "sides"]
    for side in SIDES:
        columns += [(f"{side}_{name}", _ARROW[_plain(kind)]) for name, kind in get_type_hints(SideRow).items()]
    return pa.schema(columns)


class RowFile:
    """Rows on their way into the file, a row group at a time."""

    def __init__(self, path: Path) -> None:
        self._schema = row_schema()
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._held: list[dict[str, Any]] = []

    def add(self, row: Row) -> None:
        """Append a row."""
        self._held.append(row.flat())
        if len(self._held) == _ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is held back and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_pylist(self._held, schema=self._schema))
            self._held = []


@contextmanager
def open_rows(path: Path) -> Iterator[RowFile]:
    """A file of rows that gets its name when it is complete."""
    unfinished = path.with_name(path.name + ".part")
    file = RowFile(unfinished)
    try:
        yield file
    finally:
        file.close()
    unfinished.replace(path)


def _names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def _plain(kind: Any) -> type:
    """The type that a field has where it is not None."""
    return next(part for part in get_args(kind) if part is not type(None)) if isinstance(kind, UnionType) else kind
