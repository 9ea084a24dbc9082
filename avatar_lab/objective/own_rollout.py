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


def own_rollout(
    student: AvatarModel,
    context: Context,
    batch: DyadBatch,
    rng: torch.Generator,
    *,
    sampler: Sampler,
    level: Level | None = None,
    num_steps: int | None = None,
) -> list[BlockOutput]:
    """All blocks of ``context``, the window of ``batch``; noise by a seed from ``rng``, the rest as ``rollout``."""
    seed = int(torch.randint(2**31, (1,), generator=rng))
    blocks = rollout(
        student,
        block_inputs(context, student.layout),
        context.anchor,
        sampler=sampler,
        seed=seed,
        conversation_B=batch.sample_B,
        level=level,
        num_steps=num_steps,
    )
    with block_products(batch.video_BFHWC.device.type):
        return list(blocks)
