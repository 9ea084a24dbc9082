"""Random access to the interactions of a prepared data set: ``os.pread`` at the offsets of the index, crc32 checked.

A tar reader that meets a damaged header simply stops early; reading by index cannot lose samples silently. File
descriptors are shared safely by forked workers, since ``pread`` has no position.
"""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path

from avatar_lab.data.index import Index
from avatar_lab.data.schema import (
    FEATURES_MEMBER,
    INDEX_NAME,
    IndexRow,
    Interaction,
    file_sha256,
    from_members,
    read_index_table,
    read_info,
)


class ShardReader:
    """Map-style reader of one data set.

    Args:
        root: folder with ``dataset.json``, ``index.parquet`` and the shards.
        cache_bytes: decoded interactions kept in memory, least recently used dropped first.

    Raises:
        ValueError: the data set is unfinished, its index is stale, or a shard is missing or has another size.
    """

    def __init__(self, root: Path, *, cache_bytes: int = 2 << 30) -> None:
        self.root = Path(root)
        self.info = read_info(self.root)
        index = self.root / INDEX_NAME
        if not index.is_file() or file_sha256(index) != self.info.index_sha256:
            raise ValueError(f"{index} does not belong to dataset.json (stale or replaced): prepare the data again")
        self.rows = Index(read_index_table(index))
        for shard in self.info.shards:
            path = self.root / shard.name
            size = path.stat().st_size if path.is_file() else None
            if size != shard.size:
                found = "is missing" if size is None else f"has {size} bytes instead of {shard.size}"
                raise ValueError(f"shard {path} {found}: restore it or prepare the data again")
        expected = sum(shard.samples for shard in self.info.shards)
        if len(self.rows) != expected:
            raise ValueError(f"{index} lists {len(self.rows)} interactions, the shards hold {expected}: prepare again")
        strange = self.rows.shards - {shard.name for shard in self.info.shards}
        if strange:
            raise ValueError(f"{index} points into {sorted(strange)}, which dataset.json does not list: prepare again")
        self._cache_bytes = cache_bytes
        self._cached = 0
        self._cache: OrderedDict[tuple[str, tuple[str, ...] | None], Interaction] = OrderedDict()
        self._files: dict[str, int] = {}

    def keys(self, split: str) -> list[str]:
        """Keys of ``split`` in sorted order, which is the order of evaluation.

        Raises:
            ValueError: no interaction is in that split.
        """
        keys = self.rows.of_split(split)
        if not keys:
            raise ValueError(f"{self.root} has no split {split!r}; it has {sorted(self.info.splits)}")
        return keys

    def row(self, key: str) -> IndexRow:
        """Index row of ``key``.

        Raises:
            ValueError: there is no such key.
        """
        if key not in self.rows:
            raise ValueError(f"{self.root} has no interaction {key!r}; see keys(split)")
        return self.rows[key]

    def members(self, key: str, *, features: bool = True) -> dict[str, bytes]:
        """Raw members of ``key``, each checked against the index; with or without arrays of the data set's own.

        Raises:
            ValueError: a member ends early or its crc32 differs.
        """
        row = self.row(key)
        found = {}
        for member in row.members:
            if member.name.endswith(FEATURES_MEMBER) and not features:
                continue
            raw = os.pread(self._file(row.shard), member.size, member.offset)
            if len(raw) != member.size or zlib.crc32(raw) != member.crc32:
                raise ValueError(
                    f"{self.root / row.shard}: member {key}.{member.name} is damaged (crc32 differs): restore the "
                    "shard or prepare the data again"
                )
            found[member.name] = raw
        return found

    def interaction(self, key: str, *, features: Collection[str] | None = ()) -> Interaction:
        """Decoded interaction, from memory if it was used lately.

        ``features`` names the data set's own arrays to bring along, ``None`` for all; by default they are not even
        read from the disk.
        """
        asked = None if features is None else tuple(sorted(features))
        cached = self._cache.get((key, asked))
        if cached is not None:
            self._cache.move_to_end((key, asked))
            return cached
        interaction = from_members(key, self.members(key, features=asked != ()), features=asked)
        self._cache[key, asked] = interaction
        self._cached += interaction.nbytes
        while self._cached > self._cache_bytes and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= dropped.nbytes
        return interaction

    def verify(self) -> None:
        """Read every shard in full and compare its sha256.

        Raises:
            ValueError: naming the first shard that differs.
        """
        for shard in self.info.shards:
            if file_sha256(self.root / shard.name) != shard.sha256:
                raise ValueError(
                    f"shard {self.root / shard.name} is damaged (sha256 differs): restore it or prepare again"
                )

    def close(self) -> None:
        """Close the shard files; the next read opens them again."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _file(self, shard: str) -> int:
        if shard not in self._files:
            self._files[shard] = os.open(self.root / shard, os.O_RDONLY)
        return self._files[shard]
