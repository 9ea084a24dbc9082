"""Which windows make up the batch of a step: a pure function of (seed, step), so that the state is one integer.

An epoch lists every (interaction, side) as often as its weighted length deserves, once per *slot*, in an order drawn
from (seed, epoch). Within an (interaction, side) the slots divide the weight over all window starts into equal parts,
and each slot draws its start from its own part. So an epoch covers each conversation evenly while starts with many
reactions or much listening come up more often, and no slot is used twice or skipped: not across a resume, not across a
change of ranks or workers, which all slice the same global order (elastic determinism as in mosaicml-streaming, without
its state).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar_lab.data.schema import SIDES, IndexRow
from avatar_lab.data.windows import WindowId, whole_blocks
from avatar_lab.layout import Layout

_ORDER, _START, _HEARD = 0, 1, 2
"""Streams of the counter-based generator."""


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """One (interaction, side): cumulative weight over window starts, and how often it appears in an epoch."""

    key: str
    side: str
    cumulative_S: np.ndarray
    slots: int


class WindowSampler:
    """Weighted windows in a counter-based order.

    Args:
        rows: interactions to sample from.
        num_blocks: length of a window.
        event_weight: added to a start's weight per reaction of the avatar per second of the window.
        listening_weight: added to a start's weight times the share of the window that the avatar spends listening.
        augmented_share: probability that a window's user is heard as in live use, drawn for each window.

    Raises:
        ValueError: no interaction is long enough for one window, or one was not prepared as heard live.
    """

    def __init__(
        self,
        rows: list[IndexRow],
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
        _check_augmented(rows, augmented_share)
        self._num_blocks = num_blocks
        weighted = []
        self.too_short: list[str] = []
        """Interactions that no window fits into; they are never sampled."""
        for row in sorted(rows, key=lambda row: row.key):
            blocks = whole_blocks(layout, audio_tokens=row.audio_tokens, video_latents=row.video_latents)
            if blocks < num_blocks:
                self.too_short.append(row.key)
                continue
            for side in SIDES:
                weight_S = _start_weights(
                    row, side, layout, blocks, num_blocks, event_weight=event_weight, listening_weight=listening_weight
                )
                weighted.append((row.key, side, blocks, weight_S))
        if not weighted:
            raise ValueError(
                f"none of {len(rows)} interactions holds a window of {num_blocks} blocks "
                f"({float(num_blocks * layout.block_seconds):g} s): choose a smaller num_blocks or longer recordings"
            )
        mean = sum(blocks * weight_S.mean() for _, _, blocks, weight_S in weighted) / sum(w[2] for w in weighted)
        self._candidates = [
            _Candidates(
                key=key,
                side=side,
                cumulative_S=np.cumsum(weight_S) / weight_S.sum(),
                slots=max(1, round(blocks / num_blocks * float(weight_S.mean() / mean))),
            )
            for key, side, blocks, weight_S in weighted
        ]
        slots = [c.slots for c in self._candidates]
        self._candidate_of_item = np.repeat(np.arange(len(slots)), slots)
        self._slot_of_item = np.concatenate([np.arange(n) for n in slots])
        self._epoch: int | None = None
        self._order = np.empty(0, np.int64)

    @property
    def windows_per_epoch(self) -> int:
        return len(self._candidate_of_item)

    def window(self, cursor: int) -> WindowId:
        """The window at position ``cursor`` of the global order."""
        epoch, position = divmod(cursor, self.windows_per_epoch)
        if epoch != self._epoch:
            self._order = self._generator(_ORDER, epoch, 0).permutation(self.windows_per_epoch)
            self._epoch = epoch
        item = int(self._order[position])
        chosen = self._candidates[self._candidate_of_item[item]]
        uniform = self._generator(_START, epoch, item).random()
        quantile = (int(self._slot_of_item[item]) + uniform) / chosen.slots
        start = int(np.searchsorted(chosen.cumulative_S, quantile, side="right"))
        live = self._augmented_share > 0 and self._generator(_HEARD, epoch, item).random() < self._augmented_share
        return WindowId(
            key=chosen.key,
            side=chosen.side,
            start_block=min(start, len(chosen.cumulative_S) - 1),
            num_blocks=self._num_blocks,
            heard_live=live,
        )

    def windows(self, step: int, *, batch_size: int, rank: int, world_size: int) -> list[WindowId]:
        """The part of ``rank`` in the global batch of ``step``."""
        return [self.window(cursor) for cursor in items_of(step, batch_size, rank=rank, world_size=world_size)]

    def _generator(self, stream: int, epoch: int, item: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self._seed, stream], counter=[0, 0, epoch, item]))


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


def _check_augmented(rows: list[IndexRow], share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"augmented_share {share} must lie between 0 and 1")
    if share > 0:
        wanted = {f"{side}.user_tokens.npy" for side in SIDES}
        lacking = [row.key for row in rows if not wanted <= {member.name for member in row.members}]
        if lacking:
            raise ValueError(
                f"augmented_share is {share}, but {len(lacking)} of {len(rows)} interactions have no user_tokens "
                f"({lacking[:3]}): prepare the data with an augment block, or set the share to 0"
            )


def _start_weights(
    row: IndexRow,
    side: str,
    layout: Layout,
    blocks: int,
    num_blocks: int,
    *,
    event_weight: float,
    listening_weight: float,
) -> np.ndarray:
    """Weight of every window start (blocks - num_blocks + 1,), from the index's figures per second."""
    reactions = np.asarray(row.a_reactions if side == "a" else row.b_reactions, np.float64)
    listening = np.asarray(row.a_listening if side == "a" else row.b_listening, np.float64) / 100
    seconds = float(num_blocks * layout.block_seconds)
    starts = np.arange(blocks - num_blocks + 1) * float(layout.block_seconds)

    def per_second(values: np.ndarray) -> np.ndarray:
        total = np.concatenate([[0.0], np.cumsum(values)])
        grid = np.arange(len(total))
        return (np.interp(starts + seconds, grid, total) - np.interp(starts, grid, total)) / seconds

    return 1 + event_weight * per_second(reactions) + listening_weight * per_second(listening)
