"""A student's own rollout of a training window, without gradients: what it is distilled on, and what it is weighed
against."""

from __future__ import annotations

import torch

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import Context, block_inputs
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.level import Level
from avatar_lab.precision import block_products
from avatar_lab.rollout.rollout import BlockOutput, rollout
from avatar_lab.tensors import DyadBatch


def rollout_seed(rng: torch.Generator) -> int:
    """Key of a rollout's noise."""
    return int(torch.randint(2**31, (1,), generator=rng))


def own_rollout(
    student: AvatarModel,
    context: Context,
    batch: DyadBatch,
    *,
    sampler: Sampler,
    seed: int,
    level: Level | None = None,
) -> list[BlockOutput]:
    """All blocks of ``context``, the window of ``batch``; the rest as ``rollout``."""
    blocks = rollout(
        student,
        block_inputs(context, student.layout),
        context.anchor,
        sampler=sampler,
        seed=seed,
        conversation_B=batch.sample_B,
        level=level,
    )
    with block_products(batch.video_BFHWC.device.type):
        return list(blocks)
