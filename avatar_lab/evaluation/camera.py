"""Pictures that a camera gives although it sees nothing of the user: frozen, black, or something before the lens.

The user's features are decoded, changed and encoded again by the running codec, as a live camera's would be; what lies
before the moment stays as recorded.

    P  video frames   H, W, C   G, U  features (``tensors.py``)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod

import torch
from torch import Tensor

from avatar_lab.codec.protocol import VideoCodec
from avatar_lab.context import Context
from avatar_lab.evaluation.media import decode_video
from avatar_lab.evaluation.references import Unavailable
from avatar_lab.evaluation.treatments import Off, Scene, StreamEdit
from avatar_lab.evaluation.units import Unit
from avatar_lab.layout import Layout, Stream

GREY = 96


class Picture(StrEnum):
    FROZEN = "frozen"
    BLACK = "black"
    OCCLUDED = "occluded"
    """A grey disc over the middle of the picture, where the face is."""


@dataclass(frozen=True, kw_only=True)
class Camera(StreamEdit):
    """The camera is on and shows ``picture``."""

    picture: Picture
    stream: Stream = Stream.USER_VIDEO
    from_start: bool = False

    def edit(self, context: Context, scene: Scene) -> Context:
        spec = scene.studio.video_codec.spec
        width = context.user.video_BGU.shape[-1]
        if width != prod((spec.grid_height, spec.grid_width, spec.channels)):
            raise Unavailable(
                f"camera features of width {width} are not latents of {spec.name}, so no picture can be put before the "
                "camera: prepare the data with the same video codec for both"
            )
        return super().edit(context, scene)

    def change(self, tokens: Tensor, start: int, row: int, scene: Scene) -> None:
        codec = scene.studio.video_codec
        start = 0 if self.from_start else start
        warm = min(start, codec.spec.warm_latents)
        if self.picture is Picture.OCCLUDED or not start:
            frames_PHWC = _decode(codec, tokens[start - warm :])
        else:  # all that comes after is one picture
            frames_PHWC = _decode(codec, tokens[start - warm : start])
            rest = (len(tokens) - start) * codec.spec.frames_per_latent
            frames_PHWC = torch.cat([frames_PHWC, frames_PHWC[-1:].expand(rest, -1, -1, -1)])
        first = warm * codec.spec.frames_per_latent
        frames_PHWC = frames_PHWC.clone()
        frames_PHWC[first:] = shown(frames_PHWC, first, self.picture)
        latents_BFHWC, _ = codec.encode(frames_PHWC[None])
        tokens[start:] = latents_BFHWC[0, warm:].flatten(1).to(tokens.dtype)

    def first_block(self, unit: Unit, layout: Layout) -> int:
        return 0 if self.from_start else super().first_block(unit, layout)


@dataclass(frozen=True, kw_only=True)
class CameraOn:
    """A camera that is on from the start, against one that is off; ``picture``: what it gives instead of the user."""

    picture: Picture | None = None
    stream: Stream = Stream.USER_VIDEO

    def baseline(self, context: Context, scene: Scene) -> Context:
        return Off(stream=self.stream, from_start=True).edit(context, scene)

    def edit(self, context: Context, scene: Scene) -> Context:
        return context if self.picture is None else Camera(picture=self.picture, from_start=True).edit(context, scene)

    def first_block(self, unit: Unit, layout: Layout) -> int:
        return 0


def shown(frames_PHWC: Tensor, first: int, picture: Picture) -> Tensor:
    """What the camera gives in place of the frames from ``first`` on."""
    after_PHWC = frames_PHWC[first:]
    height, width = after_PHWC.shape[1:3]
    row_H1, column_W = torch.arange(height)[:, None], torch.arange(width)
    distance_HW = ((row_H1 + 0.5) / height - 0.5) ** 2 + ((column_W + 0.5) / width - 0.5) ** 2
    disc_HW1 = (distance_HW < 0.4**2)[..., None]
    return {
        Picture.FROZEN: frames_PHWC[max(first - 1, 0)].expand_as(after_PHWC),
        Picture.BLACK: torch.zeros_like(after_PHWC),
        Picture.OCCLUDED: torch.where(disc_HW1, torch.full_like(after_PHWC, GREY), after_PHWC),
    }[picture]


def _decode(codec: VideoCodec, features_GU: Tensor) -> Tensor:
    """Frames (P, H, W, 3) uint8 of stored features."""
    spec = codec.spec
    latents_FHWC = features_GU.unflatten(1, (spec.grid_height, spec.grid_width, spec.channels))
    return torch.from_numpy(decode_video(latents_FHWC.float(), codec))
