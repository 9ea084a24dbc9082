"""Reads what a face does from single frames of 64x64 pixels, as a small convolutional regressor.

Trained on the embedded world's people, raw and codec-decoded (``stage/reader.py``); the evaluation uses it to see
mouth, smile, nods and leans in generated pixels.

    P frames   H, W, C picture or features   K places   S pixels of a feature map   R channels that are read
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatar_lab.weight_file import ShippedNetwork

READ_CHANNELS = ("jaw", "smile", "pitch", "yaw", "lean", "blink", "gaze_x", "brow")
"""Columns of ``PixelReader.read``; units as in the world's tracks (angles in degrees, pitch positive = chin down)."""

_UNIT = {"jaw": 0.3, "smile": 0.3, "pitch": 10.0, "yaw": 15.0, "lean": 0.6, "blink": 0.35, "gaze_x": 0.6, "brow": 0.3}
"""Typical deviation of each channel, so that the network's outputs are of order one."""
_BATCH = 128
"""Frames per forward pass; features of more would leave the cache."""


class AttentivePool(nn.Module):
    """Looks at a few places of a feature map: where they are, and what is there.

    Soft keypoints (Finn et al. 2016, arXiv:1509.06113) that also return the features under each, so that a mouth is
    found first and read second, wherever the head happens to be.
    """

    xy_S2: Tensor

    def __init__(self, *, width: int, places: int, side: int) -> None:
        super().__init__()
        self.attention = nn.Conv2d(width, places, 1)
        grid = (torch.arange(side) + 0.5) / side * 2 - 1
        self.register_buffer("xy_S2", torch.stack(torch.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2))

    def forward(self, features_PCHW: Tensor) -> Tensor:
        """(P, places * (C + 2))"""
        weight_PKS = self.attention(features_PCHW).flatten(2).softmax(-1)
        there_PKC = weight_PKS @ features_PCHW.flatten(2).mT
        where_PK2 = weight_PKS @ self.xy_S2
        return torch.cat((there_PKC, where_PK2), -1).flatten(1)


class PixelReader(ShippedNetwork):
    """Frame to face channels.

    Args:
        frame_size: pixels per side, divisible by 16.
        width: features at a quarter of the resolution, where places are looked for.
        coarse_width: features at an eighth and a sixteenth, read as a whole.
        places: number of places looked at.
        hidden: width of the head.
    """

    file = "pixel_reader.safetensors"
    unit_R: Tensor

    def __init__(
        self, *, frame_size: int = 64, width: int = 64, coarse_width: int = 64, places: int = 12, hidden: int = 128
    ) -> None:
        super().__init__()
        if frame_size % 16:
            raise ValueError(f"frame_size {frame_size} is not a multiple of 16")
        self.config = {
            "frame_size": frame_size,
            "width": width,
            "coarse_width": coarse_width,
            "places": places,
            "hidden": hidden,
        }
        self.frame_size = frame_size
        self.fine = nn.Sequential(
            nn.Conv2d(3, width, 6, stride=4, padding=2),
            nn.SiLU(),
            *_convolution(width, width),
            *_convolution(width, width),
        )
        self.look = AttentivePool(width=width, places=places, side=frame_size // 4)
        self.coarse = nn.Sequential(
            *_convolution(width, coarse_width, stride=2), *_convolution(coarse_width, coarse_width, stride=2)
        )
        seen = places * (width + 2) + coarse_width * (frame_size // 16) ** 2
        self.head = nn.Sequential(
            nn.Linear(seen, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, len(READ_CHANNELS)),
        )
        self.register_buffer("unit_R", torch.tensor([_UNIT[name] for name in READ_CHANNELS]))
        self.to(memory_format=torch.channels_last)

    def forward(self, frames_PHWC: Tensor) -> Tensor:
        """Frames (P, H, W, 3) in [0, 255] to channels (P, R) divided by ``unit_R``, with gradients."""
        size = self.frame_size
        if frames_PHWC.ndim != 4 or frames_PHWC.shape[1:] != (size, size, 3):
            raise ValueError(f"frames have shape {tuple(frames_PHWC.shape)}; expected (frames, {size}, {size}, 3)")
        x_PHWC = frames_PHWC.to(self.unit_R.dtype) / 127.5 - 1
        fine_PCHW = self.fine(x_PHWC.permute(0, 3, 1, 2))
        return self.head(torch.cat((self.look(fine_PCHW), self.coarse(fine_PCHW).flatten(1)), 1))

    @torch.no_grad()
    def read(self, frames_PHWC: Tensor) -> Tensor:
        """Channels (P, R) in their own units."""
        if len(frames_PHWC) == 0:
            return self.unit_R.new_zeros(0, len(READ_CHANNELS))
        parts = [self(frames_PHWC[i : i + _BATCH]) for i in range(0, len(frames_PHWC), _BATCH)]
        return torch.cat(parts) * self.unit_R


def _convolution(before: int, width: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(before, width, 3, stride=stride, padding=1), nn.SiLU()
