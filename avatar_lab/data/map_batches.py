"""The batch source over a map-style data set."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from torch.utils.data import DataLoader, Dataset

from avatar_lab.data.sampler import items_of, place_of_process


class MapBatches:
    """Batches of a map-style data set whose items are a pure function of the index: step ``s`` holds the items
    ``s * batch_size`` and on, modulo the length of the data set; ranks share them out.

    batch_size  items of a step over all ranks
    """

    def __init__(self, *, dataset: Dataset, batch_size: int) -> None:
        self.dataset = dataset
        self.batch_size = batch_size

    def loader(self, start_step: int, num_workers: int) -> Iterator[Any]:
        """Endless batches from ``start_step`` on, the same ones for any number of workers."""
        return iter(DataLoader(self.dataset, batch_sampler=self._indices(start_step), num_workers=num_workers))

    def _indices(self, start_step: int) -> Iterator[list[int]]:
        length = len(self.dataset)  # type: ignore[arg-type]
        rank, world_size = place_of_process()
        for step in count(start_step):
            yield [item % length for item in items_of(step, self.batch_size, rank=rank, world_size=world_size)]
