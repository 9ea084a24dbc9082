"""The last denoising step of each block of a rollout once more, under gradients: one block in memory at a time.

The second pass of a two-pass rollout (Self Forcing, Huang et al. 2025, arXiv:2506.08009): the first one, without
gradients, said what comes out; this one lets a loss on it reach the weights. Its gradient is that of the loop itself,
whose cache is a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import Context, block_inputs
from avatar_lab.diffusion.sampler import Estimate
from avatar_lab.precision import block_products
from avatar_lab.rollout.rollout import BlockOutput


def replay(
    model: AvatarModel, context: Context, blocks: Sequence[BlockOutput], *, first: int = 0
) -> Iterator[Estimate]:
    """Estimates of the blocks from ``first`` on, each to be back-propagated before the next is asked for.

    What all blocks share, the projections of the anchor, is computed once: it collects the gradients of all blocks and
    passes them on when the last is done.
    """
    device = context.anchor.picture_BHWC.device.type
    with block_products(device):
        projected = [each for pair in model.net.project_anchor(context.anchor) for each in pair]
        leaves = [each.detach().requires_grad_(each.requires_grad) for each in projected]
        cache = model.net.start(context.anchor, projected=list(zip(leaves[::2], leaves[1::2], strict=True)))
    for number, (inputs, block) in enumerate(zip(block_inputs(context, model.layout), blocks, strict=True)):
        with block_products(device), torch.set_grad_enabled(number >= first):
            memory = model.net.begin_block(inputs, cache)
            again = (
                model.estimate_block(block.denoised.noisy, block.denoised.levels, memory) if number >= first else None
            )
        if again is not None:
            yield again
        del again
        with block_products(device):
            model.net.write_block(block.clean, memory, cache)
    reached = [(each, leaf.grad) for each, leaf in zip(projected, leaves, strict=True) if leaf.grad is not None]
    if reached:
        tensors, gradients = zip(*reached, strict=True)
        torch.autograd.backward(tensors, gradients)
