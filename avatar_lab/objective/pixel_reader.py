"""What the pixel reader learns: the face channels that were rendered, from frames that may have passed a codec.

B clips   P frames   T face channels   R read channels
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from avatar_lab.objective.losses import Losses
from avatar_lab.perception.pixel_reader import READ_CHANNELS
from avatar_lab.world.tracks import FACE_CHANNELS

READ_COLUMNS = [FACE_CHANNELS.index(name) for name in READ_CHANNELS]
"""Where the read channels stand among the face channels."""


class TrainableReader(Protocol):
    """Part of ``PixelReader`` that the objective uses."""

    unit_R: Tensor

    def __call__(self, frames_PHWC: Tensor) -> Tensor: ...


class PixelReaderObjective:
    """Squared error per channel, in units of the channel's typical deviation.

    Args:
        weights: factor per read channel.
    """

    def __init__(self, *, weights: dict[str, float]) -> None:
        if set(weights) != set(READ_CHANNELS):
            raise ValueError(f"weights name {sorted(weights)}; expected one factor for each of {READ_CHANNELS}")
        self.weights = dict(weights)

    def __call__(self, net: TrainableReader, batch: dict[str, Tensor], rng: torch.Generator) -> Losses:
        frames_BPHWC, face_BPT = batch["frames"], batch["face"]
        read_BPR = net(frames_BPHWC.flatten(0, 1)).float().unflatten(0, frames_BPHWC.shape[:2])
        error_BPR = read_BPR - face_BPT[..., READ_COLUMNS] / net.unit_R
        terms = {name: error_BPR[..., i].square().mean(1) for i, name in enumerate(READ_CHANNELS)}
        return Losses(terms=terms, weights=self.weights)
