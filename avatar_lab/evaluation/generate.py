"""Batched rollouts of one checkpoint over many conversations; equal seeds give all agents equal noise.

Mostly the avatar's turns are given (scripted); vocal reactions are open from LISTEN on, and the user is the recorded
one. A level below the checkpoint's own leaves the streams above it absent. Networks compute on their own device; what
goes in and what comes out lies on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import torch
from torch import Tensor

from avatar_lab.checkpoint import BIDIRECTIONAL_STAGE, Checkpoint
from avatar_lab.context import Context, block_inputs, live_context
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.level import Level
from avatar_lab.precision import live_products
from avatar_lab.rollout.offline import sample_windows
from avatar_lab.rollout.rollout import BlockOutput, rollout
from avatar_lab.tensors import DyadBatch, TensorRecord


@dataclass(frozen=True, kw_only=True)
class Generated(TensorRecord):
    """What an agent produced, in codec space, where models, recordings and rendered references are alike."""

    tokens_BAK: Tensor
    latents_BFHWC: Tensor

    @classmethod
    def of(cls, blocks: Sequence[BlockOutput]) -> Generated:
        """What a rollout made, in one piece."""
        return cls(
            tokens_BAK=torch.cat([block.tokens_BAK for block in blocks], dim=1),
            latents_BFHWC=torch.cat([block.clean.video_BFHWC for block in blocks], dim=1),
        )

    def digests(self) -> list[str]:
        """One per conversation; equal digests mean equal media, bit for bit."""
        parts = zip(self.tokens_BAK.cpu(), self.latents_BFHWC.cpu(), strict=True)
        return [
            sha256(tokens_AK.contiguous().numpy().tobytes() + latents_FHWC.contiguous().numpy().tobytes()).hexdigest()
            for tokens_AK, latents_FHWC in parts
        ]


ODE_STAGES = (BIDIRECTIONAL_STAGE, "autoregressive", "see_teacher")
"""What they make follows the ODE, in as many steps as one likes; all later stages train steps of their own."""


def in_steps(checkpoint: Checkpoint, num_steps: int) -> Checkpoint:
    """The same weights, sampled in ``num_steps`` steps of the ODE: what a few-step student of equal steps must beat.

    Raises:
        ValueError: the checkpoint is such a student, whose steps were trained; or there is no step.
    """
    if checkpoint.card.stage not in ODE_STAGES:
        raise ValueError(
            f"a few-step student (stage {checkpoint.card.stage}) has steps of its own: give num_steps of a teacher or "
            "an autoregressive model only"
        )
    sampler = Sampler.ode(num_steps).readable(checkpoint.model.warps)
    return replace(checkpoint, card=replace(checkpoint.card, sampler=sampler))


def generate(
    checkpoint: Checkpoint,
    batch: DyadBatch,
    *,
    level: Level,
    offline: bool,
    silence_K: Tensor,
    seed: int,
    scripted: bool = True,
) -> Generated:
    """Roll out every conversation of ``batch`` to its end.

    offline   sample window by window as a bidirectional teacher is; else causally, block by block
    scripted  the avatar's turns are given; else all its sound is its own
    """
    model, layout = checkpoint.model, checkpoint.layout
    context = live_context(batch, layout, level, silence_K=silence_K, scripted=scripted)
    if not offline:
        return generate_blocks(checkpoint, context, level=level, seed=seed, conversation_B=batch.sample_B)
    with live_products(model.device.type):
        tokens_BAK, latents_BFHWC = sample_windows(
            model,
            context.to(model.device),
            sampler=checkpoint.card.sampler,
            seed=seed,
            conversation_B=batch.sample_B.to(model.device),
            window_blocks=checkpoint.card.window_blocks,
        )
    return Generated(tokens_BAK=tokens_BAK, latents_BFHWC=latents_BFHWC).to("cpu")


def generate_blocks(
    checkpoint: Checkpoint,
    context: Context,
    *,
    level: Level,
    seed: int,
    conversation_B: Tensor,
    reseed: tuple[int, int] | None = None,
) -> Generated:
    """What :func:`roll_out` makes, in one piece; takes the same."""
    return Generated.of(
        roll_out(checkpoint, context, level=level, seed=seed, conversation_B=conversation_B, reseed=reseed)
    )


def roll_out(
    checkpoint: Checkpoint,
    context: Context,
    *,
    level: Level,
    seed: int,
    conversation_B: Tensor,
    reseed: tuple[int, int] | None = None,
) -> list[BlockOutput]:
    """Roll out ``context`` causally, block by block.

    reseed  (block, seed): from that block on, other noise
    """
    model, layout = checkpoint.model, checkpoint.layout
    context, conversation_B = context.to(model.device), conversation_B.to(model.device)
    inputs = list(block_inputs(context, layout))
    change, later_seed = (len(inputs), seed) if reseed is None else reseed
    blocks: list[BlockOutput] = []
    with live_products(model.device.type):
        cache = model.net.start(context.anchor)
        for part, part_seed in ((inputs[:change], seed), (inputs[change:], later_seed)):
            made = rollout(
                model,
                part,
                context.anchor,
                sampler=checkpoint.card.sampler,
                seed=part_seed,
                conversation_B=conversation_B,
                level=level,
                cache=cache,
            )
            blocks += [block.to("cpu") for block in made]
    return blocks
