"""Drawing noise levels for training (design section 4): shared, per modality, or per modality and block.

Independent levels make every split of "known" and "unknown" part of the training distribution: one modality from the
other, or later blocks from finished ones (diffusion forcing, Chen et al. 2024, arXiv:2407.01392).
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar_lab.diffusion.warp import Warps
from avatar_lab.layout import Layout
from avatar_lab.tensors import NoiseLevels


def draw_u(
    num_samples: int, num_blocks: int, *, shared: float, per_modality: float, rng: torch.Generator, tilt: float = 1.0
) -> tuple[Tensor, Tensor]:
    """``u`` of audio and video per block, two (B, S) tensors; the remaining share is per modality and block.

    tilt  the density of ``u`` is ``tilt * u ** (tilt - 1)``: uniform at 1, towards noise above
    """
    kind_B1 = torch.rand(num_samples, 1, generator=rng)
    one = torch.rand(num_samples, 1, generator=rng).expand(-1, num_blocks)
    pair = torch.rand(2, num_samples, 1, generator=rng).expand(-1, -1, num_blocks)
    free = torch.rand(2, num_samples, num_blocks, generator=rng)
    audio, video = (
        torch.where(kind_B1 < shared, one, torch.where(kind_B1 < shared + per_modality, pair[m], free[m]))
        for m in range(2)
    )
    return audio ** (1 / tilt), video ** (1 / tilt)


def block_levels(u_audio_BS: Tensor, u_video_BS: Tensor, warps: Warps, layout: Layout) -> NoiseLevels:
    """Noise level of every token from ``u`` per block."""
    return NoiseLevels(
        audio_BA=warps.audio(u_audio_BS).repeat_interleave(layout.audio_per_block, dim=1),
        video_BF=warps.video(u_video_BS).repeat_interleave(layout.latents_per_block, dim=1),
    )
