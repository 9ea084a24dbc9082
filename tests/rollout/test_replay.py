"""Replay under gradients: those of the loop itself, in the memory of one block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import BlockInput, Context, block_inputs
from avatar_lab.diffusion.sampler import Estimate, Sampler, denoise
from avatar_lab.level import Level
from avatar_lab.model.dit import BlockMemory
from avatar_lab.precision import block_products
from avatar_lab.rollout.replay import replay
from avatar_lab.rollout.rollout import BlockOutput, block_noise, observed_audio, rollout
from avatar_lab.stage.see_teacher import train_branch_only
from avatar_lab.tensors import AVState, NoiseLevels
from tests.factory import context_of, random_batch, tiny_model

SAMPLER = Sampler(steps=(1.0, 0.3), renoise=0.5)
SEED, CONVERSATION_B = 0, torch.arange(2) + 5


def rolled_out(
    model: AvatarModel, *, num_blocks: int = 6, dtype: torch.dtype = torch.float64
) -> tuple[Context, list[BlockOutput]]:
    batch = random_batch(num_blocks=num_blocks, dtype=dtype)
    context = context_of(batch, hears=model.level.listens, sees=model.level.sees)
    blocks = rollout(
        model,
        block_inputs(context, model.layout),
        context.anchor,
        sampler=SAMPLER,
        seed=SEED,
        conversation_B=CONVERSATION_B,
    )
    return context, list(blocks)


def replayed(
    model: AvatarModel, context: Context, blocks: list[BlockOutput], *, first: int = 0, all_steps: bool = True
) -> Iterator[Estimate]:
    return replay(
        model,
        context,
        blocks,
        sampler=SAMPLER,
        seed=SEED,
        conversation_B=CONVERSATION_B,
        first=first,
        all_steps=all_steps,
    )


def again(
    model: AvatarModel, inputs: BlockInput, memory: BlockMemory, number: int, *, all_steps: bool = True
) -> Estimate:
    """All steps of one block, what one step hands to the next a constant unless all are trained."""

    def noise(step: int) -> AVState:
        like = memory.anchor.picture_BHWC
        return block_noise(model, like, seed=SEED, conversation_B=CONVERSATION_B, block=number, step=step)

    def predict(noisy: AVState, levels: NoiseLevels) -> Estimate:
        noisy = noisy if all_steps else noisy.apply(Tensor.detach)
        return model.estimate_block(noisy, levels, memory)

    return denoise(
        predict,
        noise,
        observed_audio(model, inputs.plan, model.layout.audio_per_block),
        sampler=SAMPLER,
        warps=model.warps,
        layout=model.layout,
    )


def a_loss(estimate: Estimate, number: int) -> Tensor:
    """Something that depends on the block, so that blocks in a wrong order would show."""
    clean = estimate.clean
    return (number + 1) * (clean.audio_BAD.square().mean() + clean.video_BFHWC.sin().mean()) + estimate.logits_BAKV[
        0, 0, 0, 0
    ]


def through_the_loop(
    model: AvatarModel, context: Context, blocks: list[BlockOutput], *, first: int, all_steps: bool
) -> dict[str, Tensor]:
    """Gradients of the plain loop, everything in one graph: only what the cache remembers is constant."""
    cache = model.net.start(context.anchor)
    cache.anchor_projected = model.net.project_anchor(context.anchor)
    total = torch.zeros((), dtype=torch.float64)
    for number, (inputs, block) in enumerate(zip(block_inputs(context, model.layout), blocks, strict=True)):
        memory = model.net.begin_block(inputs, cache)
        if number >= first:
            total = total + a_loss(again(model, inputs, memory, number, all_steps=all_steps), number)
        with torch.no_grad():
            cache.keys, cache.values = [k.clone() for k in cache.keys], [v.clone() for v in cache.values]
            model.net.write_block(block.clean, memory, cache)
    total.backward()
    return taken_gradients(model)


def taken_gradients(model: AvatarModel) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("all_steps", [False, True])
@pytest.mark.parametrize("first", [0, 4])
@pytest.mark.parametrize("level", Level)
def test_gradients_are_those_of_the_loop(level: Level, first: int, all_steps: bool) -> None:
    model = tiny_model(level)
    context, blocks = rolled_out(model)
    expected = through_the_loop(model, context, blocks, first=first, all_steps=all_steps)
    for number, said in enumerate(replayed(model, context, blocks, first=first, all_steps=all_steps), start=first):
        torch.testing.assert_close(said.clean.video_BFHWC, blocks[number].estimate.clean.video_BFHWC)
        a_loss(said, number).backward()
    found = taken_gradients(model)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() <= 1e-9 * (1 + gradient.abs().max()), name
    for part in ("conditions.voice", "listen_features", "see_features")[: int(level)]:
        assert any(part in name and gradient.abs().max() > 0 for name, gradient in found.items()), part


def test_a_branch_alone_can_be_trained() -> None:
    """What all blocks share asks for no gradients then."""
    model = train_branch_only(tiny_model())
    context, blocks = rolled_out(model)
    for number, said in enumerate(replayed(model, context, blocks)):
        a_loss(said, number).backward()
    assert all(".see" in name for name in taken_gradients(model))


def test_half_precision_outside_does_not_reach_the_blocks() -> None:
    """On CPUs rollouts stay in single precision inside a step that does not; so does what says them again."""
    model = tiny_model(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        with block_products("cpu"):
            context, blocks = rolled_out(model, dtype=torch.float32)
        for block, said in zip(blocks, replayed(model, context, blocks), strict=True):
            torch.testing.assert_close(said.clean.video_BFHWC, block.estimate.clean.video_BFHWC)


@contextmanager
def bytes_kept_for_backward(peak: list[int]) -> Iterator[None]:
    """The most that graphs kept at any time between two backward passes, in bytes of storage seen once each."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        peak[0] = max(peak[0], sum(kept.values()))
        return tensor

    def give(tensor: Tensor) -> Tensor:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, give):
        yield


def test_memory_is_that_of_one_block() -> None:
    """Whatever the length of the rollout, once the ring of the cache is full."""
    model, most = tiny_model(), {}
    for num_blocks in (6, 12):
        context, blocks = rolled_out(model, num_blocks=num_blocks)
        peak = [0]
        with bytes_kept_for_backward(peak):
            for number, said in enumerate(replayed(model, context, blocks)):
                a_loss(said, number).backward()
                del said
        most[num_blocks] = peak[0]
        model.zero_grad(set_to_none=True)
    assert most[12] <= 1.1 * most[6]
    context, blocks = rolled_out(model, num_blocks=12)
    whole = [0]
    with bytes_kept_for_backward(whole):
        torch.stack(
            [a_loss(said, number) for number, said in enumerate(replay_without_freeing(model, context, blocks))]
        ).sum()
    assert whole[0] > 5 * most[12]


def replay_without_freeing(model: AvatarModel, context: Context, blocks: list[BlockOutput]) -> Iterator[Estimate]:
    cache = model.net.start(context.anchor)
    for number, (inputs, block) in enumerate(zip(block_inputs(context, model.layout), blocks, strict=True)):
        memory = model.net.begin_block(inputs, cache)
        yield again(model, inputs, memory, number)
        model.net.write_block(block.clean, memory, cache)
