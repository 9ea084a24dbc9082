"""Plain WebDataset streaming, for shards in an object store: sequential reads, statistical resume.

Use :class:`avatar_lab.data.dataset.DyadData` where the shards are on a disk: its order is exact. A stream draws shards
with replacement (the only scheme whose ranks never run out of step) and windows at random, so after a restart it goes
on with a fresh draw from the same distribution, not with the very next window. A tar reader stops silently at a damaged
header; the stream therefore counts the samples of every shard against ``dataset.json``.
"""

from __future__ import annotations

import logging
import re
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import webdataset as wds
from torch.utils.data import get_worker_info

from avatar_lab.data.schema import SIDES, DatasetInfo, Interaction, from_members
from avatar_lab.data.window_features import chosen_forms
from avatar_lab.data.windows import Window, WindowId, cut_window, stack_windows, whole_blocks
from avatar_lab.layout import Layout
from avatar_lab.tensors import DyadBatch

log = logging.getLogger(__name__)

_SAFE_URL = re.compile(r"((https|s3|gs)://)?[A-Za-z0-9_./][A-Za-z0-9_./+=@-]*")
"""WebDataset hands remote addresses to a shell; ``pipe:`` and anything a shell could read differently is refused, and
``-``, which stands for the standard input."""

Sample = dict[str, Any]


class DyadStream:
    """Endless batches of windows from shards that are read front to back.

    Args:
        urls: shards: paths, ``https``, ``s3`` or ``gs`` addresses.
        info: ``dataset.json`` of the shards' data set.
        windows_per_interaction: windows drawn from a conversation each time it comes by.
        augmented_share: probability that a window's user is heard as in live use.
        features: see :class:`avatar_lab.data.dataset.DyadData`; the others are passed over, but come along the way.
        rank: process number; ranks draw differently.

    Raises:
        ValueError: an address is not allowed, given twice or no shard of the data set, or the layout is not that of
            the shards, or they have no such array.
    """

    def __init__(
        self,
        *,
        urls: Sequence[str],
        info: DatasetInfo,
        layout: Layout,
        batch_size: int,
        num_blocks: int,
        seed: int,
        windows_per_interaction: int = 4,
        augmented_share: float = 0.0,
        features: Sequence[str] = (),
        rank: int = 0,
    ) -> None:
        for url in urls:
            if not _SAFE_URL.fullmatch(url):
                raise ValueError(f"shard address {url!r} is refused: give a path or a plain https, s3 or gs address")
        info.check_layout(layout)
        self._urls = list(urls)
        self._counts = {shard.name: shard.samples for shard in info.shards}
        self._check_names()
        self._layout, self._num_blocks, self._batch_size = layout, num_blocks, batch_size
        self._silence_K = np.asarray(info.silence_tokens, np.uint16)
        self._windows, self._seed, self._rank = windows_per_interaction, seed, rank
        self._augmented_share = augmented_share
        self._features = chosen_forms(info.features, features)

    def __iter__(self) -> Iterator[DyadBatch]:
        worker = get_worker_info()
        stream = np.random.SeedSequence([self._seed, self._rank, 0 if worker is None else worker.id])
        rng = np.random.default_rng(stream)
        pending: list[Window] = []
        too_short = 0
        for interaction in self.interactions(shards=self._draw_shards(rng)):
            sides = interaction.sides["a"]
            blocks = whole_blocks(
                self._layout, audio_tokens=len(sides.audio_tokens), video_latents=len(sides.avatar_latents)
            )
            if blocks < self._num_blocks:
                too_short += 1
                if too_short > sum(self._counts.values()) and not pending:
                    raise ValueError(f"no interaction holds a window of {self._num_blocks} blocks: choose fewer blocks")
                continue
            for _ in range(self._windows):
                window = WindowId(
                    key=interaction.key,
                    side=SIDES[rng.integers(len(SIDES))],
                    start_block=int(rng.integers(blocks - self._num_blocks + 1)),
                    num_blocks=self._num_blocks,
                    heard_live=self._augmented_share > 0 and rng.random() < self._augmented_share,
                )
                cut = cut_window(
                    interaction, window, layout=self._layout, silence_K=self._silence_K, features=self._features
                )
                pending.append(cut)
            while len(pending) >= 8 * self._batch_size:  # a reservoir: a batch mixes conversations
                rng.shuffle(pending)
                yield stack_windows([pending.pop() for _ in range(self._batch_size)])

    def interactions(self, *, shards: Iterator[str] | None = None) -> Iterator[Interaction]:
        """Decoded samples of ``shards``, in order; all shards once by default.

        Raises:
            ValueError: a shard ends early, is damaged, or holds fewer samples than ``dataset.json`` says.
        """
        asked = [form.name for form in self._features]
        for url in self._urls if shards is None else shards:
            count = 0
            # Members arrive as raw bytes: WebDataset's own decoders would unpickle what a shard contains.
            samples = wds.WebDataset([url], shardshuffle=False, nodesplitter=None, workersplitter=None)
            try:
                for sample in samples:
                    yield from_members(sample["__key__"], _members(sample), features=asked)
                    count += 1
            except (ValueError, EOFError, OSError, tarfile.TarError) as error:
                raise ValueError(f"shard {url}, after {count} samples: {error}; copy it again") from error
            expected = self._counts[_name(url)]
            if count != expected:
                raise ValueError(f"shard {url} gave {count} samples, dataset.json says {expected}: copy it again")

    def _check_names(self) -> None:
        names = [_name(url) for url in self._urls]
        if strange := sorted(set(names) - set(self._counts)):
            raise ValueError(f"{strange} are no shards of this data set: it has {sorted(self._counts)}")
        if len(names) > len(set(names)):
            raise ValueError(
                f"{sorted({n for n in names if names.count(n) > 1})} are given twice: give each shard once"
            )
        if absent := sorted(set(self._counts) - set(names)):
            log.warning("%d of %d shards are not given and never read: %s", len(absent), len(self._counts), absent[:5])

    def _draw_shards(self, rng: np.random.Generator) -> Iterator[str]:
        while True:
            yield self._urls[int(rng.integers(len(self._urls)))]


def _name(url: str) -> str:
    return url.rsplit("/", 1)[-1]


def _members(sample: Sample) -> dict[str, bytes]:
    return {name: raw for name, raw in sample.items() if not name.startswith("__")}
