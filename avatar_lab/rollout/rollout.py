"""The only causal generation loop: training, evaluation, notebooks and live sessions all run this one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import AudioPlan, BlockInput, OwnAudio
from avatar_lab.diffusion.guidance import combine, levels_needed
from avatar_lab.diffusion.noise import Draw, counter_normal
from avatar_lab.diffusion.sampler import Estimate, Observed, Observer, Sampler, denoise
from avatar_lab.level import Level
from avatar_lab.model.cache import Cache
from avatar_lab.tensors import Anchor, AVState, NoiseLevels, TensorRecord, join

NO_GUIDANCE: Mapping[Level, float] = {}


@dataclass(frozen=True, kw_only=True)
class BlockOutput(TensorRecord):
    """One generated block."""

    tokens_BAK: Tensor
    """Audio tokens, the script's own where there was one."""
    clean: AVState
    """What went into the cache: embedded tokens, predicted latents."""
    estimate: Estimate
    """Of the last denoising step, from which the tokens were read."""


def observed_audio(model: AvatarModel, plan: AudioPlan, num_tokens: int) -> Observed:
    """The planned part of a window's or block's own audio."""
    values = model.codebook.embed(plan.tokens_BEK[:, :num_tokens])
    return Observed(values_BAD=values, mask_BA=plan.state_BE[:, :num_tokens] != OwnAudio.OPEN)


def block_noise(
    model: AvatarModel, like: Tensor, *, seed: int, conversation_B: Tensor, block: int, step: int
) -> AVState:
    """Noise of one block and step, in the dtype of ``like``."""
    layout = model.layout

    def normal(shape: tuple[int, ...], draw: Draw) -> Tensor:
        return counter_normal(
            shape, seed=seed, conversation_B=conversation_B, block=block, step=step, draw=draw, dtype=like.dtype
        )

    return AVState(
        audio_BAD=normal((layout.audio_per_block, model.codebook.width), Draw.AUDIO),
        video_BFHWC=normal((layout.latents_per_block, *model.net.grid), Draw.VIDEO),
    )


def noise_of(
    model: AvatarModel, like: Tensor, *, seed: int, conversation_B: Tensor, blocks: Iterable[int]
) -> Callable[[int], AVState]:
    """The noise of a rollout by its denoising step, for some of its blocks side by side."""

    def noise(step: int) -> AVState:
        return join(
            [
                block_noise(model, like, seed=seed, conversation_B=conversation_B, block=block, step=step)
                for block in blocks
            ]
        )

    return noise


@torch.no_grad()
def rollout(
    model: AvatarModel,
    inputs: Iterable[BlockInput],
    anchor: Anchor,
    *,
    sampler: Sampler,
    seed: int,
    conversation_B: Tensor,
    level: Level | None = None,
    guidance: Mapping[Level, float] = NO_GUIDANCE,
    cache: Cache | None = None,
    observer: Observer | None = None,
) -> Iterator[BlockOutput]:
    """Generate block after block for as long as ``inputs`` lasts.

    conversation_B  int64 key of each conversation's noise
    level           below the model's own leaves the higher branches out
    guidance        scale per level; see ``diffusion/guidance.py``
    cache           a running conversation's state, to go on from; it is updated in place
    observer        sees what every denoising step of every block starts from
    """
    level = model.level if level is None else level
    cache = model.net.start(anchor) if cache is None else cache
    needed = levels_needed(level, guidance)
    for block_input in inputs:
        block = cache.num_blocks
        memory = model.net.begin_block(block_input, cache, level=level)
        memories = {lv: model.net.block_memory(block_input, cache, level=lv) for lv in needed if lv != level}
        memories[level] = memory

        def predict(noisy: AVState, levels: NoiseLevels, memories: dict = memories) -> Estimate:
            estimates = {lv: model.estimate_block(noisy, levels, m) for lv, m in memories.items()}
            return combine(estimates, guidance)

        observed = observed_audio(model, block_input.plan, model.layout.audio_per_block)
        estimate = denoise(
            predict,
            noise_of(model, anchor.picture_BHWC, seed=seed, conversation_B=conversation_B, blocks=[block]),
            observed,
            sampler=sampler,
            warps=model.warps,
            layout=model.layout,
            observer=observer,
        )
        tokens_BAK = block_input.plan.fill(model.codebook.snap(estimate.logits_BAKV))
        clean = AVState(audio_BAD=model.codebook.embed(tokens_BAK), video_BFHWC=estimate.clean.video_BFHWC)
        if not sampler.snap:
            clean = observed.fill(estimate.clean)
        model.net.write_block(clean, memory, cache)
        yield BlockOutput(tokens_BAK=tokens_BAK, clean=clean, estimate=estimate)
