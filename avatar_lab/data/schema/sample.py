"""What one encoded conversation looks like on disk: the members of a shard sample and their checks.

Each interaction is one WebDataset sample: members ``<key>.<name>`` lie side by side in a tar file, where ``<name>`` is
one of ``a.<array>.npy``, ``b.<array>.npy`` (both participants; either may be the avatar), ``events.parquet`` (found by
the detectors), ``given_events.parquet`` (the source's own log, where it has one) and ``json``. Arrays are read without
pickle and checked against ``ARRAYS``; nothing here runs code that a shard contains.

Members of ``OPTIONAL`` may be absent, and so may ``<side>.features.npz``, arrays of the data set's own
(``features.py``). Such members may be added within a schema version, since readers ignore members that they do not
know; whatever changes or removes one that is always there raises ``SCHEMA_VERSION``.

    T audio tokens   K codebooks   F video latents   H, W, C latent grid, channels   U user feature   R pictures
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avatar_lab.data.schema.features import FEATURES_MEMBER, SideFeatures, features_bytes, read_features
from avatar_lab.data.schema.npy import DAMAGE, Rows, npy_pieces, read_npy

SCHEMA_VERSION = 1
SIDES = ("a", "b")
KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]+")
"""Keys hold no dot, since a dot ends the key of a WebDataset member, and no path separator."""


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """Type and axes of one stored array; axes with the same letter have the same length within a side."""

    dtype: str
    axes: str


ARRAYS = {
    "audio_tokens": ArraySpec(dtype="uint16", axes="TK"),
    "avatar_latents": ArraySpec(dtype="float16", axes="FHWC"),
    "user_features": ArraySpec(dtype="float16", axes="FU"),
    "script": ArraySpec(dtype="bool", axes="T"),
    "sound": ArraySpec(dtype="bool", axes="T"),
    "audio_valid": ArraySpec(dtype="bool", axes="T"),
    "video_valid": ArraySpec(dtype="bool", axes="F"),
    "pictures": ArraySpec(dtype="float16", axes="RHWC"),
    "picture_frames": ArraySpec(dtype="int32", axes="R"),
}
OPTIONAL = {"user_tokens": ArraySpec(dtype="uint16", axes="TK")}


@dataclass(frozen=True, kw_only=True)
class SideArrays:
    """One participant of an encoded conversation; what is long may stay on disk while a shard is written."""

    audio_tokens: np.ndarray
    """(T, K) tokens of the running audio encoder."""
    avatar_latents: Rows
    """(F, H, W, C) head-and-shoulders crop through the running video encoder."""
    user_features: Rows
    """(F, U) wider crop through the same encoder, flattened: what the partner's camera would deliver."""
    script: np.ndarray
    """(T,) planned speech: turns without vocal reactions, laughs and brief interruptions."""
    sound: np.ndarray
    """(T,) own voice active: speech, vocal reactions, laughs."""
    audio_valid: np.ndarray
    video_valid: np.ndarray
    pictures: np.ndarray
    """(R, H, W, C) neutral moments, each encoded alone, spread over the conversation."""
    picture_frames: np.ndarray
    """(R,) video frame of each picture, on the layout's frame grid."""
    user_tokens: np.ndarray | None = None
    """(T, K) tokens of this person as the partner's machine hears them in live use: with the partner's echo, a room,
    noise and lost packets."""

    @property
    def nbytes(self) -> int:
        arrays = (getattr(self, each.name) for each in fields(self))
        return sum(array.nbytes for array in arrays if array is not None)


@dataclass(frozen=True, kw_only=True)
class InteractionMeta:
    """The ``json`` member: where a sample comes from and under which terms."""

    interaction: str
    """The source's own identifier; the shard key is derived from it."""
    source: str
    group: str
    participants: dict[str, str]
    split: str
    seconds: float
    source_fps: dict[str, str]
    source_sample_rate: dict[str, int]
    license: str
    non_commercial: bool
    audio_fingerprint: str
    video_fingerprint: str
    sample_rate: int
    audio_rate: str
    fps: str
    frames_per_latent: int
    step_keys: dict[str, str]
    """sha256 of each preparation step that went into the sample."""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """One decoded sample."""

    key: str
    meta: InteractionMeta
    sides: dict[str, SideArrays]
    events: pa.Table
    given_events: pa.Table | None
    features: dict[str, SideFeatures] = field(default_factory=dict)
    """Arrays that the data set brought along, by side; of a side that has none, or that was not asked for, nothing."""

    @property
    def nbytes(self) -> int:
        given = 0 if self.given_events is None else self.given_events.nbytes
        brought = sum(side.nbytes for side in self.features.values())
        return sum(side.nbytes for side in self.sides.values()) + brought + self.events.nbytes + given


def shard_key(interaction: str) -> str:
    """Shard key of a source identifier: characters that a key may not hold become ``-``."""
    key = re.sub(r"[^A-Za-z0-9_-]", "-", interaction)
    if not key:
        raise ValueError("an interaction has an empty identifier; every recording needs a name")
    return key


def to_members(interaction: Interaction) -> dict[str, Iterable[bytes]]:
    """Member names (without the key) and their bytes in pieces, in the order in which they are written."""
    if not KEY_PATTERN.fullmatch(interaction.key):
        raise ValueError(f"{interaction.key!r} is no shard key (letters, digits, '_' and '-' only); use shard_key()")
    members: dict[str, Iterable[bytes]] = {}
    for side in SIDES:
        check_side(interaction.sides[side], where=f"{interaction.key}.{side}")
        for name in stored_arrays(interaction.sides[side]):
            members[f"{side}.{name}.npy"] = npy_pieces(getattr(interaction.sides[side], name))
        if side in interaction.features:
            members[f"{side}.{FEATURES_MEMBER}"] = [features_bytes(interaction.features[side])]
    members["events.parquet"] = [_parquet_bytes(interaction.events)]
    if interaction.given_events is not None:
        members["given_events.parquet"] = [_parquet_bytes(interaction.given_events)]
    members["json"] = [json.dumps(asdict(interaction.meta), sort_keys=True, indent=1).encode()]
    return members


def from_members(key: str, members: dict[str, bytes], *, features: Collection[str] | None = None) -> Interaction:
    """Inverse of :func:`to_members`, from whole members; members of unknown name are ignored, never executed.

    Args:
        features: names of the data set's own arrays to read; ``None`` for all that are there.

    Raises:
        ValueError: the key is none, a member is missing, has another type or shape than the schema says, or another
            schema version.
    """
    if not KEY_PATTERN.fullmatch(key):
        raise ValueError(f"{key!r} is no shard key (letters, digits, '_' and '-' only): no avatar_lab shard holds it")
    meta = _read_meta(key, _member(key, members, "json"))
    sides, brought = {}, {}
    for side in SIDES:
        there = [*ARRAYS, *(name for name in OPTIONAL if f"{side}.{name}.npy" in members)]
        arrays = {name: _read_npy(key, members, f"{side}.{name}.npy") for name in there}
        sides[side] = SideArrays(**arrays)
        check_side(sides[side], where=f"{key}.{side}")
        name = f"{side}.{FEATURES_MEMBER}"
        if name in members and (features is None or features):
            brought[side] = read_features(members[name], where=f"sample {key}, member {name}", names=features)
    given = "given_events.parquet"
    return Interaction(
        key=key,
        meta=meta,
        sides=sides,
        events=_read_parquet(key, members, "events.parquet"),
        given_events=_read_parquet(key, members, given) if given in members else None,
        features=brought,
    )


def stored_arrays(side: SideArrays) -> dict[str, ArraySpec]:
    """Arrays that a side has, in the order in which they are written."""
    return ARRAYS | {name: spec for name, spec in OPTIONAL.items() if getattr(side, name) is not None}


def check_side(side: SideArrays, *, where: str) -> None:
    """Types, ranks and mutual lengths of one side's arrays.

    Raises:
        ValueError: with the array's name and what it has instead.
    """
    lengths: dict[str, int] = {}
    for name, spec in stored_arrays(side).items():
        array = getattr(side, name)
        if array.dtype != np.dtype(spec.dtype) or array.ndim != len(spec.axes):
            raise ValueError(
                f"{where}.{name} is {array.dtype}{array.shape}; schema {SCHEMA_VERSION} wants {spec.dtype} with axes "
                f"{spec.axes}: prepare the data again"
            )
        for axis, length in zip(spec.axes, array.shape, strict=True):
            if lengths.setdefault(axis, length) != length:
                raise ValueError(
                    f"{where}.{name} has {length} entries on axis {axis}, other arrays have {lengths[axis]}: prepare "
                    "the data again"
                )


def _member(key: str, members: dict[str, bytes], name: str) -> bytes:
    if name not in members:
        raise ValueError(f"sample {key} lacks member {name}; it is no avatar_lab sample, or the shard is damaged")
    return members[name]


def _read_meta(key: str, raw: bytes) -> InteractionMeta:
    try:
        plain: dict[str, Any] = json.loads(raw)
        version = plain.get("schema_version")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"sample {key}, member json: {error}") from error
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"sample {key} has schema version {version}, this code reads {SCHEMA_VERSION}: prepare the data again"
        )
    try:
        return InteractionMeta(**plain)
    except TypeError as error:
        raise ValueError(f"sample {key}, member json: {error}") from error


def _read_npy(key: str, members: dict[str, bytes], name: str) -> np.ndarray:
    return read_npy(_member(key, members, name), where=f"sample {key}, member {name}")


def _parquet_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _read_parquet(key: str, members: dict[str, bytes], name: str) -> pa.Table:
    raw = _member(key, members, name)
    try:
        return pq.ParquetFile(io.BytesIO(raw)).read(use_threads=False)
    except (*DAMAGE, pa.ArrowException, OSError) as error:
        raise ValueError(f"sample {key}, member {name}: {' '.join(str(error).split())}") from error
