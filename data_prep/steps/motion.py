"""Step 6, motion: curves of head, eyes and smile of each side on the layout's frames, where a reader is configured.

Two readers: the pixel reader of the embedded world's people, and arrays that the data set brings. A frame of which
nothing is known is NaN, never 0.

    P frames on the layout's grid   N rows of an array   D its columns
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch

from avatar_lab.data.schema import SIDES
from avatar_lab.event_types import Event
from avatar_lab.events.visible import TRACES, VisibleRules, detect_visible
from avatar_lab.perception.pixel_reader import READ_CHANNELS, PixelReader
from data_prep.footage import Footage
from data_prep.npz import read_arrays
from data_prep.steps.crop import Crop
from data_prep.steps.store import StepResult

VERSION = 1
_CHUNK = 250
"""Frames read at once."""
_SLACK_ROWS, _SLACK_SHARE = 5, 0.01
"""An array with another number of rows than the video has frames, by more than either, is on another clock."""


class MotionReader(Protocol):
    """Where curves come from, and the rules by which events are found in them."""

    @property
    def rules(self) -> VisibleRules:
        """By which events are found in its curves."""

    def identity(self) -> dict[str, Any]:
        """All that the curves depend on besides the recording, as plain values; not the rules."""

    def read(self, footage: Footage, side: str, framing: Crop) -> dict[str, np.ndarray]:
        """Curves (P,) by names of ``TRACES``, those that are known at all; NaN where unknown."""


def read_motion(footage: Footage, reader: MotionReader, framings: dict[str, tuple[Crop, ...]]) -> StepResult:
    """Arrays ``<side>.<trace>`` (P,) float32. Values: ``known`` share of frames by side and trace."""
    arrays: dict[str, np.ndarray] = {}
    known: dict[str, dict[str, float]] = {}
    for side in SIDES:
        traces = reader.read(footage, side, framings[side][0])
        known[side] = {name: float(np.isfinite(curve_P).mean()) for name, curve_P in traces.items()}
        arrays |= {f"{side}.{name}": curve_P.astype(np.float32) for name, curve_P in traces.items()}
    return StepResult(values={"known": known}, arrays=arrays)


def visible_events(motion: StepResult, reader: MotionReader, footage: Footage) -> list[Event]:
    """What the detectors find in the stored curves of both sides."""
    found: list[Event] = []
    for side in SIDES:
        traces = {name: motion.arrays[f"{side}.{name}"] for name in TRACES if f"{side}.{name}" in motion.arrays}
        interaction, fps = footage.recording.interaction, float(footage.layout.fps)
        found += detect_visible(traces, fps, reader.rules, interaction=interaction, side=side)
    return found


@dataclass(frozen=True, kw_only=True)
class PixelMotion:
    """Reads the world's faces from their pixels; made for its pictures, of no use on cameras'."""

    rules: VisibleRules = field(default_factory=VisibleRules)

    def identity(self) -> dict[str, Any]:
        """The network's fingerprint."""
        return {"pixel_reader": _pixel_reader().fingerprint()}

    def read(self, footage: Footage, side: str, framing: Crop) -> dict[str, np.ndarray]:
        """All traces but vertical gaze."""
        reader, (index_P, live_P) = _pixel_reader(), footage.shown(side)
        size = reader.frame_size
        pieces = footage.frames(side, index_P, chunk=_CHUNK)
        read_PR = np.concatenate(
            [reader.read(framing.apply(torch.from_numpy(p), height=size, width=size)).numpy() for p in pieces]
        )
        columns = dict(zip(READ_CHANNELS, read_PR.T, strict=True))
        return {name: np.where(live_P, columns[name], np.nan) for name in TRACES if name in columns}


@cache
def _pixel_reader() -> PixelReader:
    return PixelReader.load()


@dataclass(frozen=True, kw_only=True)
class ArrayColumn:
    """One column of an array that the data set brings, times ``scale`` plus ``offset`` to come to a trace's unit."""

    array: str
    column: int = 0
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ArrayMotion:
    """Traces from arrays with a row per frame of the source video.

    Args:
        channels: where each trace comes from, by names of ``TRACES``.
        valid: array that is above 0 where the others are to be believed; without it in a file nothing is known.

    Raises:
        ValueError: a channel is no trace.
    """

    channels: Mapping[str, ArrayColumn]
    valid: str | None = None
    rules: VisibleRules = field(default_factory=VisibleRules)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.channels) - set(TRACES))
        if unknown:
            raise ValueError(f"motion.channels has {unknown}; events are read from {list(TRACES)}")

    def identity(self) -> dict[str, Any]:
        """Which columns are read."""
        return {"channels": {name: asdict(column) for name, column in self.channels.items()}, "valid": self.valid}

    def read(self, footage: Footage, side: str, framing: Crop) -> dict[str, np.ndarray]:
        """Those channels that the file of this side has.

        Raises:
            SkipRecording: the file is damaged.
        """
        features = footage.recording.sides[side].features
        if features is None:
            return {}
        wanted = {column.array for column in self.channels.values()} | ({self.valid} if self.valid else set())
        arrays = read_arrays(features, tuple(sorted(wanted)))
        index_P, live_P = footage.shown(side)
        frames = len(footage.facts[side].pts_P)
        traces = {}
        for name, column in self.channels.items():
            array_ND = _rows(arrays.get(column.array))
            if array_ND is not None and column.column < array_ND.shape[1]:
                known_N = self._known(array_ND, arrays, frames)
                value_N = np.where(known_N, array_ND[:, column.column] * column.scale + column.offset, np.nan)
                inside_P = live_P & (index_P < len(value_N))
                traces[name] = np.where(inside_P, value_N[np.minimum(index_P, len(value_N) - 1)], np.nan)
        return traces

    def _known(self, array_ND: np.ndarray, arrays: Mapping[str, np.ndarray], frames: int) -> np.ndarray:
        """Rows that say something: on the video's clock, finite, valid, and not filled with zeros."""
        known_N = np.isfinite(array_ND).all(1)
        if abs(len(array_ND) - frames) > max(_SLACK_ROWS, _SLACK_SHARE * frames):
            return np.zeros_like(known_N)
        if array_ND.shape[1] > 1:
            known_N &= (array_ND != 0).any(1)
        if self.valid is not None:
            valid_ND = _rows(arrays.get(self.valid))
            if valid_ND is None or len(valid_ND) != len(known_N):
                return np.zeros_like(known_N)
            known_N &= valid_ND[:, 0] > 0
        return known_N


def _rows(array: np.ndarray | None) -> np.ndarray | None:
    """An array as rows of numbers (N, D), or None if it has none."""
    if array is None or array.ndim < 1 or not len(array) or array.dtype.kind not in "fiub":
        return None
    return array.reshape(len(array), -1).astype(np.float64)
