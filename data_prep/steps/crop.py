"""Framing: which part of a source picture the avatar's and the user's encodings see.

The avatar's crop shows head and shoulders; the user's crop is wider, for posture and gesture. Where a data set has only
one framing both are the same and it is encoded once. A crop is a fixed part of the picture, or a square around the face
(``track.py``).

    P frames   H, W frame size
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from data_prep.steps.track import Face


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

    def at(self, face: Face, *, height: int, width: int) -> Crop:
        """This part of any picture, wherever the face is."""
        return self


@dataclass(frozen=True, kw_only=True)
class FaceCrop:
    """A square around the face; the whole picture where no face is known.

    scale  side of the square in heights of the face
    drop   how far the square's centre lies below the face's, in heights of the face
    """

    scale: float = 3.0
    drop: float = 0.5

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"scale {self.scale:g} must be above 0: a head with shoulders takes about 3")

    def at(self, face: Face, *, height: int, width: int) -> Crop:
        """The square in a picture of this size, moved where it would stand out, smaller where it does not fit."""
        if face.origin == "none":
            return Crop()
        side = min(self.scale * face.height * height, height, width)
        left = min(max(face.x * width - side / 2, 0), width - side)
        top = min(max((face.y + self.drop * face.height) * height - side / 2, 0), height - side)
        return Crop(left=left / width, top=top / height, right=(left + side) / width, bottom=(top + side) / height)


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Framing of the avatar's own picture and of what a user's camera shows."""

    avatar: Crop | FaceCrop = Crop()
    user: Crop | FaceCrop = Crop()

    def at(self, face: Face, *, height: int, width: int) -> tuple[Crop, ...]:
        """Each framing once, the avatar's first."""
        distinct = (self.avatar,) if self.user == self.avatar else (self.avatar, self.user)
        return tuple(crop.at(face, height=height, width=width) for crop in distinct)
