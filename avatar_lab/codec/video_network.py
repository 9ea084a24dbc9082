"""The two halves of the tiny video codec: convolutions over one latent's frames, no normalisation layers.

The four frames of a latent enter as channels, so that all temporal modelling inside a latent is dense. Residual
branches start at zero, which trains without normalisation (cf. Fixup, Zhang et al. 2019, arXiv:1901.09321) and keeps
each sample independent of its batch. Tensors are (N, channels, height, width) in channels-last memory.

    N latents (batch and time folded)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_COLOURS = 3
_FLOW_UNIT = 0.1
"""Displacement by which the network's output 1 is meant, in halves of the picture's side."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose sum with the input starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class Glance(nn.Module):
    """Summary of a few places of a feature map: where they are, and what is there.

    Soft keypoints (Finn et al. 2016, arXiv:1509.06113) that also return the features under each. Convolutions on a
    coarse grid are slow to learn a small thing that moves about, such as a mouth; this finds it first, then reads it.

    Args:
        in_channels: features of the map.
        side: its height and width.
        width: features that are looked at.
        places: number of places.
        summary: width of the result.
    """

    xy_S2: Tensor

    def __init__(self, *, in_channels: int, side: int, width: int, places: int, summary: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
        )
        self.attention = nn.Conv2d(width, places, 1)
        self.summary = nn.Sequential(nn.Linear(places * (width + 2), summary), nn.SiLU())
        grid = (torch.arange(side) + 0.5) / side * 2 - 1
        self.register_buffer("xy_S2", torch.stack(torch.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        features_NCHW = self.features(x_NCHW)
        weight_NKS = self.attention(features_NCHW).flatten(2).softmax(-1)
        there_NKC = weight_NKS @ features_NCHW.flatten(2).mT.to(weight_NKS.dtype)
        where_NK2 = weight_NKS @ self.xy_S2.to(weight_NKS.dtype)
        return self.summary(torch.cat((there_NKC, where_NK2), -1).flatten(1))


class FrameEncoder(nn.Module):
    """Frames of one latent to features on the latent grid: patches of ``patch`` pixels, then halvings.

    Args:
        in_channels: colour channels of all frames of a latent.
        patch: pixels per side folded into the first features.
        widths: features per resolution, finest first; every further entry halves the resolution.
        grid: side of the latent grid.
        places, summary: see ``Glance``; it looks at the finest features and speaks to every cell of the grid.
    """

    def __init__(
        self, *, in_channels: int, patch: int, widths: Sequence[int], grid: int, places: int, summary: int
    ) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(in_channels, widths[0], patch, stride=patch), ResidualBlock(widths[0]))
        coarse_layers: list[nn.Module] = []
        for fine, coarse in pairwise(widths):
            coarse_layers += [nn.PixelUnshuffle(2), nn.Conv2d(4 * fine, coarse, 1), ResidualBlock(coarse)]
        self.coarse = nn.Sequential(*coarse_layers)
        side = grid * 2 ** (len(widths) - 1)
        self.glance = Glance(in_channels=widths[0], side=side, width=widths[0], places=places, summary=summary)
        self.tell = nn.Linear(summary, widths[-1] * grid**2)
        nn.init.zeros_(self.tell.weight)
        nn.init.zeros_(self.tell.bias)
        self.cells = (widths[-1], grid, grid)

    def forward(self, frames_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, C, grid, grid) and the summary they include (N, summary)."""
        fine_NCHW = self.fine(frames_NCHW)
        summary_NC = self.glance(fine_NCHW)
        return self.coarse(fine_NCHW) + self.tell(summary_NC).unflatten(1, self.cells), summary_NC


class FrameDecoder(nn.Module):
    """Latent and its predecessor to the frames of one latent, by doublings and a last unfolding of ``patch`` pixels.

    Every frame is then displaced by a flow field of its own: within 160 ms a head mostly shifts, which is far easier to
    say than to repaint.

    Args:
        in_channels: channels of a latent, its predecessor's included.
        frames: frames of a latent.
        patch: pixels per side unfolded from the last features.
        widths: features per resolution, coarsest first.
        blocks: residual blocks per resolution.
        grid: side of the latent grid, for the learned positions.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        frames: int,
        patch: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        grid: int,
    ) -> None:
        super().__init__()
        self.entry = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.position_CHW = nn.Parameter(torch.zeros(widths[0], grid, grid))
        layers: list[nn.Module] = [ResidualBlock(widths[0]) for _ in range(blocks[0])]
        for coarse, fine, count in zip(widths[:-1], widths[1:], blocks[1:], strict=True):
            layers += [nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2)]
            layers += [ResidualBlock(fine) for _ in range(count)]
        self.layers = nn.Sequential(*layers)
        self.exit = nn.Conv2d(widths[-1], frames * _COLOURS * patch**2, 3, padding=1)
        self.flow = nn.Conv2d(widths[-1], frames * 2, 3, padding=1)
        nn.init.zeros_(self.flow.weight)
        nn.init.zeros_(self.flow.bias)  # type: ignore[arg-type]
        self.patch, self.frames = patch, frames

    def forward(self, latents_NCHW: Tensor) -> Tensor:
        """Frames (N, frames, colours, height, width)."""
        features = F.silu(self.layers(self.entry(latents_NCHW) + self.position_CHW))
        pictures = F.pixel_shuffle(self.exit(features), self.patch).unflatten(1, (self.frames, _COLOURS))
        flow_NCHW = F.interpolate(self.flow(features).float(), scale_factor=self.patch, mode="bilinear")
        flow = flow_NCHW.unflatten(1, (self.frames, 2)).flatten(0, 1).permute(0, 2, 3, 1) * _FLOW_UNIT
        moved = F.grid_sample(
            pictures.flatten(0, 1).float().contiguous(),
            _still_grid(flow) + flow,
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        return moved.unflatten(0, pictures.shape[:2])


def _still_grid(like_NHW2: Tensor) -> Tensor:
    """Pixel centres (H, W, 2) in the coordinates of ``grid_sample``, x before y."""
    _, height, width, _ = like_NHW2.shape
    rows = (torch.arange(height, device=like_NHW2.device) * 2 + 1) / height - 1
    columns = (torch.arange(width, device=like_NHW2.device) * 2 + 1) / width - 1
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), -1).to(like_NHW2.dtype)
