"""Each block of a rollout once more, under gradients and with the same noise: one block in memory at a time, with all
of its steps or the last alone.

The second pass of a two-pass rollout (Self Forcing, Huang et al. 2025, arXiv:2506.08009): the first one, without
gradients, said what comes out; this one lets a loss on it reach the weights. Its gradient is that of the loop itself,
whose cache is a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count

import torch
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import Context, block_inputs
from avatar_lab.diffusion.sampler import Estimate, Predict, Sampler, denoise
from avatar_lab.precision import block_products
from avatar_lab.rollout.rollout import BlockOutput, noise_of, observed_audio
from avatar_lab.tensors import AVState, NoiseLevels


def last_alone(predict: Predict, sampler: Sampler) -> Predict:
    """``predict`` for one run of ``sampler``, with gradients in its last step alone; the others as in a rollout."""
    calls = count(1)

    def predicted(noisy: AVState, levels: NoiseLevels) -> Estimate:
        if next(calls) == len(sampler.steps):
            return predict(noisy, levels)
        with torch.no_grad(), block_products(noisy.video_BFHWC.device.type):
            return predict(noisy, levels)

    return predicted


def replay(
    model: AvatarModel,
    context: Context,
    blocks: Sequence[BlockOutput],
    *,
    sampler: Sampler,
    seed: int,
    conversation_B: Tensor,
    all_steps: bool,
    first: int = 0,
) -> Iterator[Estimate]:
    """Estimates of the blocks from ``first`` on, each to be back-propagated before the next is asked for; sampler and
    noise are those of the rollout. Gradients reach all steps of a block, or the last alone.

    What all blocks share, the projections of the anchor, is computed once: it collects the gradients of all blocks and
    passes them on when the last is done.
    """
    like, layout = context.anchor.picture_BHWC, model.layout
    device = like.device.type
    with block_products(device):
        projected = [each for pair in model.net.project_anchor(context.anchor) for each in pair]
        leaves = [each.detach().requires_grad_(each.requires_grad) for each in projected]
        cache = model.net.start(context.anchor, projected=list(zip(leaves[::2], leaves[1::2], strict=True)))
    for number, (inputs, block) in enumerate(zip(block_inputs(context, layout), blocks, strict=True)):
        with block_products(device), torch.set_grad_enabled(number >= first):
            memory = model.net.begin_block(inputs, cache)
        if number >= first:
            with block_products(device):
                predict = partial(model.estimate_block, memory=memory)
                again = denoise(
                    predict if all_steps else last_alone(predict, sampler),
                    noise_of(model, like, seed=seed, conversation_B=conversation_B, blocks=[number]),
                    observed_audio(model, inputs.plan, layout.audio_per_block),
                    sampler=sampler,
                    warps=model.warps,
                    layout=layout,
                )
            yield again
            del again
        with block_products(device):
            model.net.write_block(block.clean, memory, cache)
    reached = [(each, leaf.grad) for each, leaf in zip(projected, leaves, strict=True) if leaf.grad is not None]
    if reached:
        tensors, gradients = zip(*reached, strict=True)
        torch.autograd.backward(tensors, gradients)
