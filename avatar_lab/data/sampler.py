"""Which windows make up the batch of a step: a pure function of (seed, step), so that the state is one integer.

An epoch lists every (interaction, side) as often as its weighted length deserves, once per *slot*, in an order drawn
from (seed, epoch). Within an (interaction, side) the slots divide the weight over all window starts into equal parts,
and each slot draws its start from its own part. So an epoch covers each conversation evenly while starts with many
reactions or much listening come up more often, and no slot is used twice or skipped: not across a resume, not across a
change of ranks or workers, which all slice the same global order (elastic determinism as in mosaicml-streaming, without
its state).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.distributed as dist

from avatar_lab.data.index import Index
from avatar_lab.data.schema import SIDES
from avatar_lab.data.window_weights import PerSecond, WindowGrid
from avatar_lab.data.windows import WindowId, whole_blocks_of_each
from avatar_lab.layout import Layout

_ORDER, _START, _HEARD = 0, 1, 2
"""Streams of the counter-based generator."""


class WindowSampler:
    """Weighted windows in a counter-based order.

    Args:
        index: of the data set.
        keys: interactions to sample from.
        num_blocks: length of a window.
        event_weight: added to a start's weight per reaction of the avatar per second of the window.
        listening_weight: added to a start's weight times the share of the window that the avatar spends listening.
        augmented_share: probability that a window's user is heard as in live use, drawn for each window.

    Raises:
        ValueError: no interaction is long enough for one window, or one was not prepared as heard live.
    """

    def __init__(
        self,
        index: Index,
        keys: Sequence[str],
        *,
        layout: Layout,
        num_blocks: int,
        seed: int,
        event_weight: float,
        listening_weight: float,
        augmented_share: float = 0.0,
    ) -> None:
        self._seed = seed
        self._augmented_share = augmented_share
        _check_augmented(index, keys, augmented_share)
        self._num_blocks = num_blocks
        ordered = np.asarray(sorted(keys))
        row_N = index.positions(ordered.tolist())
        blocks_N = whole_blocks_of_each(
            layout,
            audio_tokens_N=index.numbers("audio_tokens")[row_N],
            video_latents_N=index.numbers("video_latents")[row_N],
        )
        long_enough = blocks_N >= num_blocks
        self.too_short: list[str] = ordered[~long_enough].tolist()
        """Interactions that no window fits into; they are never sampled."""
        self._keys: list[str] = ordered[long_enough].tolist()
        if not self._keys:
            raise ValueError(
                f"none of {len(keys)} interactions holds a window of {num_blocks} blocks "
                f"({float(num_blocks * layout.block_seconds):g} s): choose a smaller num_blocks or longer recordings"
            )
        row_N, blocks_N = row_N[long_enough], blocks_N[long_enough]
        self._starts_N = blocks_N - num_blocks + 1
        self._grid = WindowGrid(window=float(num_blocks * layout.block_seconds), block=float(layout.block_seconds))
        self._event_weight, self._listening_weight = event_weight, listening_weight
        self._reactions = {side: _per_second(index, f"{side}_reactions", row_N, unit=1) for side in SIDES}
        self._listening = {side: _per_second(index, f"{side}_listening", row_N, unit=100) for side in SIDES}
        mean_N2 = np.stack([self._mean_weights(side) for side in SIDES], axis=1)
        mean = (blocks_N[:, None] * mean_N2).sum() / (len(SIDES) * blocks_N.sum())
        slots_N2 = np.maximum(1, np.rint(blocks_N[:, None] / num_blocks * (mean_N2 / mean))).astype(np.int64)
        self._first_item = np.concatenate([[0], np.cumsum(slots_N2)])
        """Of each (interaction, side), side by side, and the number of all items."""
        self._epoch: int | None = None
        self._order = np.empty(0, np.int64)

    @property
    def windows_per_epoch(self) -> int:
        """Items of an epoch: every (interaction, side) as often as its weight says."""
        return int(self._first_item[-1])

    def window(self, cursor: int) -> WindowId:
        """The window at position ``cursor`` of the global order."""
        epoch, position = divmod(cursor, self.windows_per_epoch)
        if epoch != self._epoch:
            self._order = self._generator(_ORDER, epoch, 0).permutation(self.windows_per_epoch)
            self._epoch = epoch
        item = int(self._order[position])
        pair = int(np.searchsorted(self._first_item, item, side="right")) - 1
        first, end = self._first_item[pair : pair + 2].tolist()
        row, side = divmod(pair, len(SIDES))
        weight_S = self._start_weights(row, SIDES[side])
        cumulative_S = np.cumsum(weight_S) / weight_S.sum()
        uniform = self._generator(_START, epoch, item).random()
        start = int(np.searchsorted(cumulative_S, (item - first + uniform) / (end - first), side="right"))
        live = self._augmented_share > 0 and self._generator(_HEARD, epoch, item).random() < self._augmented_share
        return WindowId(
            key=self._keys[row],
            side=SIDES[side],
            start_block=min(start, len(cumulative_S) - 1),
            num_blocks=self._num_blocks,
            heard_live=live,
        )

    def windows(self, step: int, *, batch_size: int, rank: int, world_size: int) -> list[WindowId]:
        """The part of ``rank`` in the global batch of ``step``."""
        return [self.window(cursor) for cursor in items_of(step, batch_size, rank=rank, world_size=world_size)]

    def _start_weights(self, row: int, side: str) -> np.ndarray:
        """Weight of every window start, (S,)."""
        reactions, listening = self._reactions[side].of(row), self._listening[side].of(row)
        starts = int(self._starts_N[row])
        return (
            1
            + self._event_weight * self._grid.means(reactions, starts=starts)
            + self._listening_weight * self._grid.means(listening, starts=starts)
        )

    def _mean_weights(self, side: str) -> np.ndarray:
        """Mean of the weights of all starts of every interaction, (N,)."""
        return (
            1
            + self._event_weight * self._grid.mean_of_means(self._reactions[side], starts_N=self._starts_N)
            + self._listening_weight * self._grid.mean_of_means(self._listening[side], starts_N=self._starts_N)
        )

    def _generator(self, stream: int, epoch: int, item: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self._seed, stream], counter=[0, 0, epoch, item]))


def place_of_process() -> tuple[int, int]:
    """Rank of this process and number of ranks: 0 of 1 where ``torch.distributed`` is not running."""
    running = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if running else (0, 1)


def items_of(step: int, batch_size: int, *, rank: int, world_size: int) -> range:
    """Positions in the global order that ``rank`` handles at ``step``.

    Raises:
        ValueError: the batch does not divide evenly over the ranks, or there is no such rank.
    """
    if batch_size % world_size or not 0 <= rank < world_size:
        raise ValueError(
            f"rank {rank} of {world_size}: batch_size {batch_size} must divide evenly over the ranks: choose a multiple"
        )
    per_rank = batch_size // world_size
    first = step * batch_size + rank * per_rank
    return range(first, first + per_rank)


def _per_second(index: Index, name: str, row_N: np.ndarray, *, unit: float) -> PerSecond:
    value_V, span_N2 = index.lists(name)
    return PerSecond(value_V=value_V, span_N2=span_N2[row_N], unit=unit)


def _check_augmented(index: Index, keys: Sequence[str], share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"augmented_share {share} must lie between 0 and 1")
    if share > 0:
        has = index.having({f"{side}.user_tokens.npy" for side in SIDES})[index.positions(keys)]
        lacking = [key for key, there in zip(keys, has.tolist(), strict=True) if not there]
        if lacking:
            raise ValueError(
                f"augmented_share is {share}, but {len(lacking)} of {len(keys)} interactions have no user_tokens "
                f"({lacking[:3]}): prepare the data with an augment block, or set the share to 0"
            )
