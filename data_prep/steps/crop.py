"""Framing: which part of a source picture the avatar's and the user's encodings see.

The avatar's crop shows head and shoulders; the user's crop is wider, for posture and gesture. Where a data set has only
one framing both are the same and it is encoded once.

    P frames   H, W frame size
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Part of the picture, as shares of its width and height."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise ValueError(f"{self} must satisfy 0 <= left < right <= 1 and 0 <= top < bottom <= 1")

    def apply(self, frames_PHWC: Tensor, *, height: int, width: int) -> Tensor:
        """Cropped frames, scaled to ``height`` x ``width`` where they are not, uint8."""
        rows, columns = frames_PHWC.shape[1:3]
        cut = frames_PHWC[
            :,
            round(self.top * rows) : round(self.bottom * rows),
            round(self.left * columns) : round(self.right * columns),
        ]
        if cut.shape[1:3] == (height, width):
            return cut
        planar = cut.permute(0, 3, 1, 2).float()
        scaled = functional.interpolate(planar, (height, width), mode="bilinear", antialias=True, align_corners=False)
        return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Framing of the avatar's own picture and of what a user's camera shows."""

    avatar: Crop = Crop()
    user: Crop = Crop()

    @property
    def distinct(self) -> tuple[Crop, ...]:
        """Each framing once, the avatar's first."""
        return (self.avatar,) if self.user == self.avatar else (self.avatar, self.user)
