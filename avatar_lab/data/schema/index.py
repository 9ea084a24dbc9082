"""``dataset.json`` and ``index.parquet``: what a prepared data set holds, and where each member's bytes lie.

The index has one row per interaction with the position, size and crc32 of every member, so that a reader needs no tar
parser. ``dataset.json`` names the codecs, rates, shards and licences, and the hash of the index; it is written last, so
a data set without it is unfinished.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avatar_lab.data.schema.features import FeatureForm
from avatar_lab.data.schema.sample import KEY_PATTERN, SCHEMA_VERSION
from avatar_lab.layout import Layout

INFO_NAME = "dataset.json"
INDEX_NAME = "index.parquet"
SHARD_PATTERN = re.compile(r"[A-Za-z0-9_-]+\.tar")
"""Names of shards are file names beside ``dataset.json``, never paths."""

_MEMBER = pa.struct(
    [("name", pa.string()), ("offset", pa.int64()), ("size", pa.int64()), ("crc32", pa.uint32())],
)
INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("interaction", pa.string()),
        ("split", pa.string()),
        ("shard", pa.string()),
        ("members", pa.list_(_MEMBER)),
        ("seconds", pa.float64()),
        ("audio_tokens", pa.int64()),
        ("video_latents", pa.int64()),
        ("participant_a", pa.string()),
        ("participant_b", pa.string()),
        ("group", pa.string()),
        ("source", pa.string()),
        ("license", pa.string()),
        ("non_commercial", pa.bool_()),
        # what the window sampler weighs, so that it need not open the shards: per second of media
        ("a_reactions", pa.list_(pa.uint8())),
        ("b_reactions", pa.list_(pa.uint8())),
        ("a_listening", pa.list_(pa.uint8())),
        ("b_listening", pa.list_(pa.uint8())),
        # what a run may select by (``selection.py``); null where it is not known
        ("lag_seconds", pa.float64()),
        ("lag_confidence", pa.float64()),
        ("a_isolation_db", pa.float64()),
        ("b_isolation_db", pa.float64()),
    ]
)
"""``*_reactions``: onsets of reactions by that side; ``*_listening``: percent of the second spent listening."""
LATER_COLUMNS = frozenset({"lag_seconds", "lag_confidence", "a_isolation_db", "b_isolation_db"})
"""Came within this schema version: data sets from before lack them, and know nothing of what they say."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """Where one member's bytes lie in its shard."""

    name: str
    offset: int
    size: int
    crc32: int


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """One interaction of the index."""

    key: str
    interaction: str
    split: str
    shard: str
    members: tuple[Member, ...]
    seconds: float
    audio_tokens: int
    video_latents: int
    participant_a: str
    participant_b: str
    group: str
    source: str
    license: str
    non_commercial: bool
    a_reactions: list[int]
    b_reactions: list[int]
    a_listening: list[int]
    b_listening: list[int]
    lag_seconds: float | None = None
    """By which side b is late as it is stored; what was already made up for is not in it."""
    lag_confidence: float | None = None
    """0 to 1, of there being a lag at all; the lag itself may be 0."""
    a_isolation_db: float | None = None
    """Level of a's channel while only a speaks minus while only b does."""
    b_isolation_db: float | None = None


@dataclass(frozen=True, kw_only=True)
class ShardInfo:
    """One tar file of the data set."""

    name: str
    size: int
    sha256: str
    samples: int

    def __post_init__(self) -> None:
        if not SHARD_PATTERN.fullmatch(self.name):
            raise ValueError(
                f"shard name {self.name!r} is refused: letters, digits, '_' and '-' only, then .tar; prepare again"
            )


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """The contents of ``dataset.json``."""

    content_hash: str
    """sha256 over every member's crc32 and size, the codecs and the rates: equal data sets have equal hashes."""
    index_sha256: str
    sample_rate: int
    audio_rate: str
    fps: str
    frames_per_latent: int
    audio_codec: str
    audio_fingerprint: str
    num_codebooks: int
    codebook_size: int
    silence_tokens: tuple[int, ...]
    video_codec: str
    video_fingerprint: str
    latent_shape: tuple[int, int, int]
    user_features: int
    shards: tuple[ShardInfo, ...]
    splits: dict[str, dict[str, float]]
    """Per split: interactions, seconds, participants."""
    licenses: dict[str, float]
    """Hours per licence."""
    non_commercial: bool
    """True if any interaction forbids commercial use; then the whole training run does."""
    features: tuple[FeatureForm, ...] = ()
    """Arrays that the data set brought along, in all types and shapes that occur, in order of names."""
    schema_version: int = SCHEMA_VERSION

    def check_layout(self, layout: Layout) -> None:
        """Refuse a layout whose grids are not those of the stored tokens.

        Raises:
            ValueError: with the rate that differs.
        """
        for name, stored, wanted in (
            ("sample_rate", self.sample_rate, layout.sample_rate),
            ("audio_rate", Fraction(self.audio_rate), layout.audio_rate),
            ("fps", Fraction(self.fps), layout.fps),
            ("frames_per_latent", self.frames_per_latent, layout.frames_per_latent),
        ):
            if stored != wanted:
                raise ValueError(
                    f"the shards have {name} {stored}, the layout has {wanted}: choose the matching layout or prepare "
                    "the recordings again with this one"
                )

    def check_codecs(self, *, audio_fingerprint: str, video_fingerprint: str) -> None:
        """Refuse codecs other than those that wrote the shards.

        Raises:
            ValueError: with both fingerprints.
        """
        for kind, stored, loaded in (
            ("audio", self.audio_fingerprint, audio_fingerprint),
            ("video", self.video_fingerprint, video_fingerprint),
        ):
            if stored != loaded:
                raise ValueError(
                    f"the shards were encoded by {kind} codec {stored}, the loaded one is {loaded}: load the codec of "
                    "the shards or prepare the recordings again"
                )


def shard_name(split: str, number: int) -> str:
    """File name of a shard.

    Raises:
        ValueError: the name of the split cannot be part of one.
    """
    if not KEY_PATTERN.fullmatch(split):
        raise ValueError(f"split {split!r} cannot be part of a file name: letters, digits, '_' and '-' only")
    return f"{split}-{number:06d}.tar"


def write_index(path: Path, rows: list[IndexRow]) -> str:
    """Write the index and return the sha256 of its bytes."""
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=INDEX_SCHEMA)
    pq.write_table(table, path, compression="zstd")
    return file_sha256(path)


def is_current(path: Path) -> bool:
    """Whether the index at ``path`` has all columns that are written now."""
    return pq.read_schema(path).names == INDEX_SCHEMA.names


def read_index(path: Path) -> list[IndexRow]:
    """Rows of the index, in file order; ``read_index_table`` is much faster where not all of them are needed.

    Raises:
        ValueError: as ``read_index_table``.
    """
    return index_rows(read_index_table(path))


def read_index_table(path: Path) -> pa.Table:
    """The index as it is stored.

    Raises:
        ValueError: the columns are not those of this schema version.
    """
    try:
        # The few names of members stay references: as text they would be most of the index. And one column at a time
        # needs half the memory of all at once.
        with pq.ParquetFile(path, read_dictionary=["members.list.element.name"]) as file:
            names = file.schema_arrow.names
            missing = [name for name in INDEX_SCHEMA.names if name not in names]
            if not LATER_COLUMNS.issuperset(missing) or names != [n for n in INDEX_SCHEMA.names if n not in missing]:
                raise ValueError(f"{path} has columns {names}: prepare the data again")
            columns = {name: file.read(columns=[name], use_threads=False).column(0) for name in names}
            rows = file.metadata.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}): prepare the data again") from error
    columns |= {name: pa.nulls(rows, INDEX_SCHEMA.field(name).type) for name in missing}
    return pa.table({name: columns[name] for name in INDEX_SCHEMA.names})


def index_rows(table: pa.Table) -> list[IndexRow]:
    """Rows of (a part of) a stored index."""
    return [IndexRow(**row | {"members": tuple(Member(**m) for m in row["members"])}) for row in table.to_pylist()]


def write_info(path: Path, info: DatasetInfo) -> None:
    """Write ``dataset.json`` so that it is either absent or whole."""
    unfinished = path.with_name(path.name + ".part")
    plain = asdict(info)
    if not info.features:  # as before there were any, so that older readers read it too
        del plain["features"]
    unfinished.write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")
    unfinished.replace(path)


def read_info(root: Path) -> DatasetInfo:
    """``dataset.json`` of the data set at ``root``.

    Raises:
        ValueError: it is missing, unreadable, or of another schema version.
    """
    path = root / INFO_NAME
    if not path.is_file():
        raise ValueError(f"{root} has no {INFO_NAME}: it is no prepared data set or its preparation did not finish")
    try:
        plain: dict[str, Any] = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): prepare the data again") from error
    if not isinstance(plain, dict):
        raise ValueError(f"{path} is damaged (no JSON object): prepare the data again")
    if plain.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema version {plain.get('schema_version')}, this code reads {SCHEMA_VERSION}: prepare the "
            "data again"
        )
    try:
        plain["shards"] = tuple(ShardInfo(**shard) for shard in plain["shards"])
        plain["latent_shape"] = tuple(plain["latent_shape"])
        plain["silence_tokens"] = tuple(plain["silence_tokens"])
        plain["features"] = tuple(
            FeatureForm(**form | {"shape": tuple(form["shape"])}) for form in plain.get("features", ())
        )
        return DatasetInfo(**plain)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}): prepare the data again") from error


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
