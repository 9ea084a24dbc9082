"""Thin bridge from a :class:`BatchSource` to Lightning, and the batch source over a map-style data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from avatar_lab.data.sampler import items_of
from avatar_lab.training import distributed
from avatar_lab.training.protocol import BatchSource


class MapBatches:
    """Batches of a map-style data set whose items are a pure function of the index: step ``s`` holds the items
    ``s * batch_size`` and on, modulo the length of the data set; ranks share them out.

    batch_size  items of a step over all ranks
    """

    def __init__(self, *, dataset: Dataset, batch_size: int) -> None:
        self.dataset = dataset
        self.batch_size = batch_size

    def loader(self, start_step: int, num_workers: int) -> Iterator[Any]:
        return iter(DataLoader(self.dataset, batch_sampler=self._indices(start_step), num_workers=num_workers))

    def _indices(self, start_step: int) -> Iterator[list[int]]:
        length = len(self.dataset)  # type: ignore[arg-type]
        place = {"rank": distributed.rank(), "world_size": distributed.world_size()}
        for step in count(start_step):
            yield [i % length for i in items_of(step, self.batch_size, **place)]


class StepRange:
    """The batches of steps ``start`` to ``stop``: sized, so that Lightning neither prefetches nor loops."""

    def __init__(self, source: BatchSource, start: int, stop: int, num_workers: int) -> None:
        self.source, self.start, self.stop, self.num_workers = source, start, stop, num_workers

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[Any]:
        return islice(self.source.loader(self.start, self.num_workers), len(self))


class StageData(LightningDataModule):
    """Hands Lightning the remaining batches; ``start_step`` is asked for after a checkpoint was restored."""

    def __init__(
        self, *, source: BatchSource, start_step: Callable[[], int], total_steps: int, num_workers: int
    ) -> None:
        super().__init__()
        self.source, self.start_step, self.total_steps, self.num_workers = source, start_step, total_steps, num_workers

    def train_dataloader(self) -> StepRange:
        return StepRange(self.source, self.start_step(), self.total_steps, self.num_workers)
