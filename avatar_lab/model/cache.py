"""State of a running conversation inside the network: bounded, and free of absolute time.

Keys are stored before rotation and rotated on reading by their age, so that hour ten is computed with the same numbers
as second ten. The avatar's past is a ring of ``history_blocks`` slots; user tokens are a short sliding window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar_lab.tensors import Anchor


@dataclass
class UserWindow:
    """The newest user tokens that the branches can still reach, oldest first."""

    tokens_BTU: Tensor
    present_BT: Tensor

    def push(self, tokens: Tensor, present: Tensor) -> None:
        """Append tokens (B, new, ...) and forget as many of the oldest."""
        size = self.present_BT.shape[1]
        self.tokens_BTU = torch.cat([self.tokens_BTU, tokens], dim=1)[:, -size:]
        self.present_BT = torch.cat([self.present_BT, present], dim=1)[:, -size:]


@dataclass
class Cache:
    """Everything a network remembers of its conversations.

    keys, values  per layer (B, H, slots * tokens per block, C); the ring of clean blocks
    anchor        who the avatar is; anchor_projected  its keys and values per layer, computed once
    num_blocks    blocks written so far
    """

    keys: list[Tensor]
    values: list[Tensor]
    anchor: Anchor
    anchor_projected: list[tuple[Tensor, Tensor]]
    anchor_visible_BM: Tensor
    user_audio: UserWindow
    user_video: UserWindow
    tokens_per_block: int
    num_slots: int
    num_blocks: int = 0

    @property
    def filled(self) -> int:
        return min(self.num_blocks, self.num_slots)

    def ages(self) -> Tensor:
        """Age in blocks of each filled slot, relative to the block now being generated (1 = the previous block)."""
        slots = torch.arange(self.filled, device=self.keys[0].device)
        return (self.num_blocks - 1 - slots) % self.num_slots + 1

    def past(self, layer: int, rotate: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor] | None:
        """Keys, rotated by their age, and values of the filled slots."""
        if self.num_blocks == 0:
            return None
        end = self.filled * self.tokens_per_block
        return rotate(self.keys[layer][:, :, :end]), self.values[layer][:, :, :end]

    def write(self, own: list[tuple[Tensor, Tensor]]) -> None:
        """Store a finished block's keys and values over the oldest slot."""
        slot = self.num_blocks % self.num_slots
        where = slice(slot * self.tokens_per_block, (slot + 1) * self.tokens_per_block)
        for layer, (k, v) in enumerate(own):
            self.keys[layer][:, :, where] = k
            self.values[layer][:, :, where] = v
        self.num_blocks += 1

    def clone(self) -> Cache:
        """Independent copy, to branch a conversation."""
        return Cache(
            keys=[k.clone() for k in self.keys],
            values=[v.clone() for v in self.values],
            anchor=self.anchor,
            anchor_projected=self.anchor_projected,
            anchor_visible_BM=self.anchor_visible_BM,
            user_audio=UserWindow(self.user_audio.tokens_BTU.clone(), self.user_audio.present_BT.clone()),
            user_video=UserWindow(self.user_video.tokens_BTU.clone(), self.user_video.present_BT.clone()),
            tokens_per_block=self.tokens_per_block,
            num_slots=self.num_slots,
            num_blocks=self.num_blocks,
        )
