"""The index in memory: columns as Arrow holds them, so that a hundred thousand rows cost no time at the start.

A row becomes an ``IndexRow`` when it is asked for; what is needed of all of them is read as arrays.

    N rows   V values of all rows of a list column, one after another
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avatar_lab.data.schema import IndexRow, index_rows


class Index(Mapping[str, IndexRow]):
    """Rows by key, in file order."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        keys = table["key"].to_pylist()
        self._position = dict(zip(keys, range(len(keys)), strict=True))

    def __getitem__(self, key: str) -> IndexRow:
        (row,) = index_rows(self._table.slice(self._position[key], 1))
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(self._position)

    def __len__(self) -> int:
        return len(self._position)

    def __contains__(self, key: object) -> bool:
        return key in self._position

    @property
    def shards(self) -> set[str]:
        """Names of all shards that rows lie in."""
        return set(pc.unique(self._table["shard"]).to_pylist())

    def of_split(self, split: str) -> list[str]:
        """Keys of a split, sorted."""
        found = zip(self._table["key"].to_pylist(), self._table["split"].to_pylist(), strict=True)
        return sorted(key for key, its_split in found if its_split == split)

    def positions(self, keys: Sequence[str]) -> np.ndarray:
        """Rows of ``keys``, (N,)."""
        return np.fromiter(map(self._position.__getitem__, keys), np.int64, len(keys))

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers."""
        return np.from_dlpack(self._table[name].combine_chunks())

    def figures(self, name: str) -> np.ndarray:
        """A column of numbers that may be unknown, NaN where they are."""
        column = self._table[name].combine_chunks().cast(pa.float64())
        return np.from_dlpack(pc.fill_null(column, float("nan")))

    def lists(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A column of lists of numbers: all values (V,), and first and one-past-last of each row in them, (N, 2)."""
        values, span_N2 = self._flat(name)
        return np.from_dlpack(values), span_N2

    def having(self, members: set[str]) -> np.ndarray:
        """Which rows have all of these members, (N,)."""
        values, span_N2 = self._flat("members")
        wanted = pc.is_in(values.field("name"), value_set=pa.array(sorted(members)))
        found = np.concatenate([[0], np.cumsum(np.from_dlpack(wanted.cast(pa.uint8())), dtype=np.int64)])
        return found[span_N2[:, 1]] - found[span_N2[:, 0]] == len(members)

    def _flat(self, name: str) -> tuple[pa.Array, np.ndarray]:
        """Values of a column of lists, and where each row's lie; by DLPack, since ``to_numpy`` would load pandas."""
        column = self._table[name].combine_chunks()
        ends = np.from_dlpack(column.offsets)
        return column.values, np.stack([ends[:-1], ends[1:]], axis=1)
