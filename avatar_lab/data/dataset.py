"""``DyadData``: batches by step number, and whole conversations for evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from avatar_lab.data.sampler import WindowSampler, items_of, place_of_process
from avatar_lab.data.schema import SIDES, DatasetInfo, Interaction
from avatar_lab.data.selection import SelectionRule
from avatar_lab.data.shards import ShardReader
from avatar_lab.data.window_features import chosen_forms
from avatar_lab.data.windows import WindowId, cut_window, stack_windows, whole_blocks
from avatar_lab.layout import Layout
from avatar_lab.tensors import DyadBatch

log = logging.getLogger(__name__)


class DyadData:
    """Windows of two-person conversations, by step.

    Args:
        root: prepared data set (``data_prep``).
        layout: must have the grids of the shards.
        batch_size: windows per step over all ranks.
        num_blocks: length of a window.
        split: which interactions to use.
        event_weight, listening_weight, augmented_share: see :class:`WindowSampler`; only batches are augmented, whole
            conversations never.
        features: names of arrays that the data set brought along (``*`` stands for anything), to be in
            ``DyadBatch.features``; those that are not named are not read.
        selection: which interactions windows are drawn from; ``keys`` and ``conversation`` give all.
        cache_bytes: decoded interactions kept in memory, per process.
        rank, world_size: this process's part of each batch; default what ``torch.distributed`` says when batches are
            asked for, which is all of it where that is not running.

    Raises:
        ValueError: the data set is damaged, has other grids, no such split or array, or no conversation that is long
            enough and within the selection.
    """

    def __init__(
        self,
        *,
        root: Path,
        layout: Layout,
        batch_size: int,
        num_blocks: int,
        seed: int,
        split: str = "train",
        event_weight: float = 1.0,
        listening_weight: float = 1.0,
        augmented_share: float = 0.0,
        features: Sequence[str] = (),
        selection: SelectionRule | None = None,
        cache_bytes: int = 2 << 30,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if (rank is None) != (world_size is None):
            raise ValueError(f"rank {rank} of {world_size}: give both, or neither to ask torch.distributed")
        self.layout = layout
        self.reader = ShardReader(Path(root), cache_bytes=cache_bytes)
        self.info.check_layout(layout)
        self._features = chosen_forms(self.info.features, features)
        self._batch_size, self._rank, self._world_size = batch_size, rank, world_size
        self._silence_K = np.asarray(self.info.silence_tokens, np.uint16)
        keys = self.reader.keys(split)
        self.sampler = WindowSampler(
            self.reader.rows,
            self._selected(keys, split, selection or SelectionRule()),
            layout=layout,
            num_blocks=num_blocks,
            seed=seed,
            event_weight=event_weight,
            listening_weight=listening_weight,
            augmented_share=augmented_share,
        )
        if self.sampler.too_short:
            log.warning(
                "%d of %d interactions are shorter than a window of %d blocks and are never sampled: %s",
                len(self.sampler.too_short), len(keys), num_blocks, self.sampler.too_short[:5],
            )  # fmt: skip

    def _selected(self, keys: list[str], split: str, rule: SelectionRule) -> list[str]:
        """Those of ``keys`` that ``rule`` lets pass; what it leaves out is said."""
        refused = rule.refused(self.reader.rows, keys)
        out = {key for named in refused.values() for key in named}
        reasons = ", ".join(f"{len(named)} for {reason} (such as {named[0]})" for reason, named in refused.items())
        if len(out) == len(keys):
            raise ValueError(f"{rule} leaves out all {len(keys)} interactions of split {split!r}: {reasons}; loosen it")
        if out:
            log.warning("%d of %d interactions are left out by the selection: %s", len(out), len(keys), reasons)
        return [key for key in keys if key not in out]

    @property
    def info(self) -> DatasetInfo:
        """Codecs, rates, shapes and licences of the data set."""
        return self.reader.info

    def keys(self, split: str) -> list[str]:
        """Interactions of ``split``, in the fixed order of evaluation."""
        return self.reader.keys(split)

    def interaction(self, key: str) -> Interaction:
        """Everything stored about one interaction: arrays of both sides, events, origin, and the ``features`` that this
        data set was asked for, at their own rate."""
        return self.reader.interaction(key, features=[form.name for form in self._features])

    def share(self) -> tuple[int, int]:
        """Rank and number of ranks.

        Raises:
            ValueError: the batch does not divide evenly over the ranks.
        """
        if self._rank is not None and self._world_size is not None:
            rank, world_size = self._rank, self._world_size
        else:
            rank, world_size = place_of_process()
        items_of(0, self._batch_size, rank=rank, world_size=world_size)  # refuses here, not in a worker
        return rank, world_size

    def windows(self, step: int, *, rank: int, world_size: int) -> list[WindowId]:
        """The windows of one rank's batch at ``step``."""
        return self.sampler.windows(step, batch_size=self._batch_size, rank=rank, world_size=world_size)

    def batch(self, step: int) -> DyadBatch:
        """This rank's batch at ``step``; the same (seed, step) always gives the same batch."""
        rank, world_size = self.share()
        return self.cut(self.windows(step, rank=rank, world_size=world_size))

    def cut(self, windows: list[WindowId]) -> DyadBatch:
        """Batch of the given windows, all of one length."""
        cut = [
            cut_window(
                self.interaction(w.key), w, layout=self.layout, silence_K=self._silence_K, features=self._features
            )
            for w in windows
        ]
        return stack_windows(cut)

    def conversation(self, key: str, side: str) -> DyadBatch:
        """All whole blocks of an interaction as one window (batch of 1) with ``side`` as the avatar.

        Raises:
            ValueError: no such key or side.
        """
        if side not in SIDES:
            raise ValueError(f"side {side!r} must be one of {SIDES}")
        row = self.reader.row(key)
        blocks = whole_blocks(self.layout, audio_tokens=row.audio_tokens, video_latents=row.video_latents)
        return self.cut([WindowId(key=key, side=side, start_block=0, num_blocks=blocks)])

    def loader(self, start_step: int, num_workers: int, *, timeout: float = 300.0) -> Iterator[DyadBatch]:
        """Endless batches from ``start_step`` on, in step order whatever the number of workers.

        ``timeout`` seconds without a batch from a worker, or a worker that died, raise a RuntimeError that names what
        was being read, and end all workers.
        """
        rank, world_size = self.share()
        loader = DataLoader(
            _RankBatches(self, rank, world_size),
            sampler=_Steps(start_step),
            batch_size=None,
            num_workers=num_workers,
            collate_fn=_as_is,
            timeout=timeout if num_workers else 0.0,
        )
        before = set(active_children())
        batches = iter(loader)
        workers = set(active_children()) - before

        def content(step: int) -> str:
            windows = self.windows(step, rank=rank, world_size=world_size)
            return ", ".join(sorted({f"{self.reader.row(w.key).shard}/{w.key}" for w in windows}))

        return _watched(batches, workers, start_step, content)


class _RankBatches(Dataset):
    """One rank's batches as a map-style data set; workers cannot ask for the rank themselves."""

    def __init__(self, data: DyadData, rank: int, world_size: int) -> None:
        self._data, self._rank, self._world_size = data, rank, world_size

    def __getitem__(self, step: int) -> DyadBatch:
        return self._data.cut(self._data.windows(step, rank=self._rank, world_size=self._world_size))


class _Steps(Iterable[int]):
    """Endless step numbers; the loader's whole state is the first one."""

    def __init__(self, start: int) -> None:
        self._start = start

    def __iter__(self) -> Iterator[int]:
        return count(self._start)


def _watched(
    batches: Iterator[DyadBatch], workers: set[BaseProcess], start: int, content: Callable[[int], str]
) -> Iterator[DyadBatch]:
    """``batches``, whose workers are killed when one hangs or dies: torch reports that, but waits for the others."""
    for step in count(start):
        try:
            batch = next(batches)
        except (RuntimeError, ConnectionError, EOFError) as error:
            reason = _reason(error, workers)
            for worker in workers:
                with suppress(RuntimeError):  # torch reports the first one's end too, from a signal handler
                    worker.kill()
                    worker.join()
            raise RuntimeError(
                f"no batch for step {step} ({reason}); it holds {content(step)}: check that these files can be read, "
                "and that there is enough memory"
            ) from error
        yield batch


def _reason(error: Exception, workers: set[BaseProcess]) -> str:
    """What ended the batches; a worker that dies while it hands one over only shows as a broken connection."""
    if isinstance(error, RuntimeError):
        return str(error)
    for worker in workers:
        with suppress(RuntimeError):
            worker.join(0.5)
    ended = {worker.pid: worker.exitcode for worker in workers if worker.exitcode}
    killed = [f"worker {pid} was killed by signal {-code}" for pid, code in ended.items() if code < 0]
    return ", ".join(killed) or f"the connection to a worker broke: {error!r}"


def _as_is(batch: Any) -> Any:
    return batch
