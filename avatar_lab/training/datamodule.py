"""Thin bridge from a :class:`BatchSource` to Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from lightning.pytorch import LightningDataModule

from avatar_lab.training.protocol import BatchSource


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
