"""Three-dimensional rotary positions, split over the head as in Wan's DiT; audio tokens move along time only.

Time is measured in video latents, so audio and video share one axis. A rotation is stored as (cos, sin) stacked on the
last axis, shape (tokens, head width / 2, 2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar_lab.layout import Layout, Stream

BASE = 10_000.0


def rotations(time_N: Tensor, row_N: Tensor, column_N: Tensor, head_width: int) -> Tensor:
    """Rotation table (N, head_width / 2, 2) of positions (time in latents, row, column).

    Raises:
        ValueError: the head is too narrow to split into time, row and column.
    """
    side = 2 * (head_width // 6)
    if head_width % 2 or side == 0:
        raise ValueError(f"a head of width {head_width} cannot be split into three rotary axes; use an even width >= 6")
    angles = []
    for position_N, width in ((time_N, head_width - 2 * side), (row_N, side), (column_N, side)):
        exponent = torch.arange(0, width, 2, dtype=torch.double, device=position_N.device) / width
        angles.append(position_N.double()[:, None] * BASE**-exponent)
    angle = torch.cat(angles, dim=-1)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def block_rotations(layout: Layout, patches: tuple[int, int], blocks_S: Tensor, head_width: int) -> Tensor:
    """Rotations of all tokens of the given blocks: audio, then video patches, of each; block 0 starts at time 0.

    patches  rows and columns of patches per latent
    """
    rows, columns = patches
    index = torch.arange(layout.audio_per_block, device=blocks_S.device, dtype=torch.double)
    audio = index * float(layout.latent_rate / layout.audio_rate)
    latents = torch.arange(layout.latents_per_block, device=blocks_S.device).repeat_interleave(rows * columns)
    place = torch.arange(rows * columns, device=blocks_S.device).repeat(layout.latents_per_block)
    none = torch.zeros_like(audio)
    time_SN = torch.cat([audio, latents])[None] + blocks_S[:, None] * layout.latents_per_block
    row_N, column_N = torch.cat([none, place // columns]), torch.cat([none, place % columns])
    repeats = len(blocks_S)
    return rotations(time_SN.flatten(), row_N.repeat(repeats), column_N.repeat(repeats), head_width)


def stream_rotations(layout: Layout, stream: Stream, index_M: Tensor, head_width: int) -> Tensor:
    """Rotations of user tokens; token 0 starts at time 0."""
    time_M = index_M.double() * float(layout.latent_rate * layout.grid(stream))
    return rotations(time_M, torch.zeros_like(time_M), torch.zeros_like(time_M), head_width)


def rotate(x_BHNC: Tensor, table_NP2: Tensor) -> Tensor:
    """Rotate neighbouring channel pairs of (B, heads, N, head width) by the table's angles, as one complex product."""
    exact = x_BHNC if x_BHNC.dtype in (torch.float32, torch.float64) else x_BHNC.float()
    pairs = torch.view_as_complex(exact.unflatten(-1, (-1, 2)))
    turn = torch.view_as_complex(table_NP2.to(exact.dtype).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2).to(x_BHNC.dtype)
