"""Step 6, features (optional): arrays that the data set brings along (face parameters, poses), for the shards.

They are cut like the pictures and otherwise left alone: own types, own rate, NaN where the data set has NaN. What time
a row stands for is never guessed. A file with as many rows as its video has frames has the times of those frames; else
the source must state a rate that makes the rows as long as the recording. A file of which neither is true is refused,
and so are its arrays that are no numbers or have other rows; the recording goes on without them, and they are counted.

    R rows of an array   P frames of the source video
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

import numpy as np

from avatar_lab.data.schema import SIDES, SideFeatures, matches
from avatar_lab.data.schema.features import NAME_PATTERN, SECONDS
from avatar_lab.data.schema.npy import NpyHeader
from avatar_lab.data.schema.time_axis import TOLERANCE
from data_prep.blob import Blob
from data_prep.footage import Footage
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.npz import array_headers, read_arrays
from data_prep.steps.store import StepResult

VERSION = 1


class FeatureNote(StrEnum):
    """Why a file or an array is left out; each is counted in the report."""

    DAMAGED = "damaged"
    TOO_LARGE = "too_large"
    NO_ARRAY = "no_array"
    """Nothing in the file is wanted and can be taken."""
    NO_CLOCK = "no_clock"
    """Neither has the file a row for every frame, nor is there a stated rate that fits."""
    NOT_NUMERIC = "not_numeric"
    OTHER_ROWS = "other_rows"
    """The array's first axis is not the time of the others."""
    BAD_NAME = "bad_name"


@dataclass(frozen=True, kw_only=True)
class FeatureRule:
    """Which arrays are taken, and when their rows fit.

    Args:
        keys: names, in which ``*`` stands for anything; empty for every array of numbers whose first axis is time.
        max_extra_rows: rows more or less than the video has frames; extractors drop or repeat a few at the end.
        max_mismatch: seconds by which rows at a stated rate may be longer or shorter than what they were made from.

    Raises:
        ValueError: ``keys`` is one name and no list.
    """

    keys: Sequence[str] = ()
    max_extra_rows: int = 5
    max_mismatch: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.keys, str):
            raise ValueError(f"features.keys is {self.keys!r}: give a list of names, such as [{self.keys}]")

    def wants(self, name: str) -> bool:
        """Whether an array of this name is to be taken."""
        return not self.keys or matches(name, self.keys)


class Refused(Exception):
    """A file that cannot be passed on."""

    def __init__(self, note: FeatureNote, detail: str) -> None:
        super().__init__(note, detail)
        self.note, self.detail = note, detail


@dataclass(frozen=True, kw_only=True)
class RowClock:
    """What the rows of one file may be laid against.

    frames_P     media times of the video's frames, ``None`` without a video
    start, end   of what the rows were made from, in media seconds
    rate         rows per second that the source states
    """

    frames_P: np.ndarray | None
    start: float
    end: float
    rate: Fraction | None

    def seconds(self, rows: int, rule: FeatureRule) -> tuple[str, np.ndarray] | None:
        """``video`` or ``rate`` and the times of ``rows`` rows; ``None`` where neither fits."""
        if self.frames_P is not None and abs(rows - len(self.frames_P)) <= rule.max_extra_rows:
            return "video", self.frames_P[:rows]
        if self.rate is not None and abs(rows / self.rate - (self.end - self.start)) <= rule.max_mismatch:
            return "rate", self.start + np.arange(rows) / float(self.rate)
        return None

    def stated(self) -> str:
        """What there is, in words."""
        frames = "there is no video" if self.frames_P is None else f"the video has {len(self.frames_P)} frames"
        rate = "no feature_rate is stated" if self.rate is None else f"{float(self.rate):g} rows per second are stated"
        return f"{frames}, {rate}, and the recording lasts {self.end - self.start:.2f} s"


def pass_on(footage: Footage, rule: FeatureRule) -> StepResult:
    """The arrays of both sides.

    Arrays: ``<side>.seconds`` (R,) and ``<side>.<name>`` (R, ...). Values by side that has a file: ``refused`` (note
    and why, or ``None``), ``left_out`` (note by name of array), and of what is taken ``clock`` (``video`` or
    ``rate``), ``rate`` in Hz, ``covered`` seconds of the recording, ``extra_rows`` beyond the frames of the video
    (negative: fewer; taken to be at the end) and ``arrays`` (form by name).
    """
    values: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    frames, fps = footage.clock.frames, footage.layout.fps
    for side in SIDES:
        files = footage.recording.sides[side]
        if files.features is None:
            continue
        facts, (start, end) = footage.facts.get(side), footage.extents[side]
        clock = RowClock(frames_P=None if facts is None else facts.pts_P, start=start, end=end, rate=files.feature_rate)
        left_out: dict[str, str] = {}
        values[side] = {"refused": None, "left_out": left_out}
        try:
            axis, found, rows = take(files.features, clock, rule, seconds=float(frames / fps), left_out=left_out)
        except Refused as why:
            values[side]["refused"] = [why.note, why.detail]
            continue
        _, live_P = found.at(np.arange(frames) * float(1 / fps))
        values[side] |= {
            "clock": axis,
            "rate": 1 / found.period if found.period else None,
            "covered": float(live_P.sum() / fps),
            "extra_rows": rows - len(facts.pts_P) if facts is not None and axis == "video" else None,
            "arrays": {name: f"{array.dtype}{list(array.shape[1:])}" for name, array in found.arrays.items()},
        }
        arrays |= {f"{side}.{SECONDS}": found.seconds}
        arrays |= {f"{side}.{name}": array for name, array in found.arrays.items()}
    return StepResult(values=values, arrays=arrays)


def take(
    features: Blob, clock: RowClock, rule: FeatureRule, *, seconds: float, left_out: dict[str, str]
) -> tuple[str, SideFeatures, int]:
    """The clock's kind, the arrays of a file from 0 to ``seconds``, and the rows that the file has.

    Notes on arrays that are left out are added to ``left_out``.

    Raises:
        Refused: nothing of the file can be passed on.
    """
    try:
        headers = array_headers(features, rule.wants)
        for name, header in headers.items():
            if (note := _unfit(name, header)) is not None:
                left_out[name] = note
        fit = {name: header.shape[0] for name, header in headers.items() if name not in left_out}
        if not fit:
            wanted = f"of {list(rule.keys)}" if rule.keys else "that are numbers"
            raise Refused(FeatureNote.NO_ARRAY, f"{features.name} has no arrays {wanted}")
        rows = _common_rows(fit.values(), clock, rule)
        if rows is None:
            lengths = ", ".join(f"{name} {count}" for name, count in sorted(fit.items())[:8])
            raise Refused(FeatureNote.NO_CLOCK, f"{features.name} has rows {lengths}; {clock.stated()}")
        left_out |= {name: FeatureNote.OTHER_ROWS for name, count in fit.items() if count != rows}
        arrays = read_arrays(features, [name for name, count in fit.items() if count == rows])
    except SkipRecording as skip:
        note = FeatureNote.TOO_LARGE if skip.reason is SkipReason.TOO_LARGE else FeatureNote.DAMAGED
        raise Refused(note, skip.detail) from skip
    laid = clock.seconds(rows, rule)
    assert laid is not None  # else there would be no common rows
    axis, seconds_R = laid
    first, last = _window(seconds_R, seconds)
    cut = {name: array[: len(seconds_R)][first:last] for name, array in sorted(arrays.items())}
    return axis, SideFeatures(seconds=seconds_R[first:last], arrays=cut), rows


def passed(result: StepResult) -> dict[str, SideFeatures]:
    """What a stored result holds of each side that has arrays."""
    found = {}
    for side, values in result.values.items():
        if values["refused"] is None:
            arrays = {name: result.arrays[f"{side}.{name}"] for name in values["arrays"]}
            found[side] = SideFeatures(seconds=result.arrays[f"{side}.{SECONDS}"], arrays=arrays)
    return found


def _unfit(name: str, header: NpyHeader) -> FeatureNote | None:
    """Why an array cannot be taken, by its header."""
    if not NAME_PATTERN.fullmatch(name):
        return FeatureNote.BAD_NAME
    if header.dtype.kind not in "fiub" or header.dtype.itemsize > 8:
        return FeatureNote.NOT_NUMERIC
    return None if header.shape and header.shape[0] > 0 else FeatureNote.OTHER_ROWS


def _common_rows(counts: Iterable[int], clock: RowClock, rule: FeatureRule) -> int | None:
    """The number of rows that fits the clock: frames go before a stated rate, then what most arrays have."""
    fitting = [(laid[0] == "video", count) for count in counts if (laid := clock.seconds(count, rule)) is not None]
    best = max(sorted(set(fitting)), key=lambda each: (each[0], fitting.count(each)), default=None)
    return None if best is None else best[1]


def _window(seconds_R: np.ndarray, seconds: float) -> tuple[int, int]:
    """First row, that which holds at 0, and end of the rows that begin before ``seconds``."""
    first = max(0, int(np.searchsorted(seconds_R, TOLERANCE, side="right")) - 1)
    return first, int(np.searchsorted(seconds_R, seconds - TOLERANCE, side="left"))
