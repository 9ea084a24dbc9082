"""Sampling a bidirectional teacher: window after window, each continuing from the finished half of the one before.

The teacher is trained with noise levels drawn per block, so finished blocks enter as context at noise level 0. It is a
reference for evaluation, not a streaming model; the user is time-masked as everywhere.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import AudioPlan, Context, UserStreams
from avatar_lab.diffusion.sampler import Estimate, Sampler, denoise
from avatar_lab.layout import Layout, Stream
from avatar_lab.model.visibility import Role
from avatar_lab.rollout.rollout import noise_of, observed_audio
from avatar_lab.tensors import AVState, NoiseLevels, join


def slice_context(context: Context, layout: Layout, first: int, last: int) -> Context:
    """Blocks ``first`` to ``last`` (exclusive) of a window as a window of their own."""
    per_block, user = layout.audio_per_block, context.user
    own = slice(first * per_block, last * per_block + layout.script_lookahead)
    spans = {
        stream: slice(first * layout.per_block(stream), last * layout.per_block(stream) + layout.lead_tokens(stream))
        for stream in Stream
    }
    hear, see = spans[Stream.USER_AUDIO], spans[Stream.USER_VIDEO]
    plan: AudioPlan = replace(
        context.plan, tokens_BEK=context.plan.tokens_BEK[:, own], state_BE=context.plan.state_BE[:, own]
    )
    return replace(
        context,
        plan=plan,
        user=UserStreams(
            audio_BTK=user.audio_BTK[:, hear],
            audio_present_BT=user.audio_present_BT[:, hear],
            hears_BS=user.hears_BS[:, first:last],
            video_BGU=user.video_BGU[:, see],
            video_present_BG=user.video_present_BG[:, see],
            sees_BS=user.sees_BS[:, first:last],
        ),
    )


@torch.no_grad()
def sample_windows(
    model: AvatarModel, context: Context, *, sampler: Sampler, seed: int, conversation_B: Tensor, window_blocks: int
) -> tuple[Tensor, Tensor]:
    """Tokens (B, A, K) and latents (B, F, H, W, C) of the whole context, sampled in windows of ``window_blocks``."""
    layout, keep = model.layout, window_blocks // 2
    tokens: list[Tensor] = []
    states: list[AVState] = []
    done = 0
    while done < context.num_blocks:
        first = max(0, done - keep)
        last = min(context.num_blocks, first + window_blocks)
        part = slice_context(context, layout, first, last)
        known = done - first
        fresh = noise_of(
            model, part.anchor.picture_BHWC, seed=seed, conversation_B=conversation_B, blocks=range(first, last)
        )
        noise = fresh(0)
        observed = observed_audio(model, part.plan, (last - first) * layout.audio_per_block)
        finished = join(states[first:done]) if known else None

        def predict(
            noisy: AVState, levels: NoiseLevels, part: Context = part, finished: AVState | None = finished
        ) -> Estimate:
            if finished is not None:
                noisy, levels = _overwrite(noisy, levels, finished)
            return model.estimate_window(noisy, levels, part, role=Role.BIDIRECTIONAL)

        def still(_step: int, noise: AVState = noise) -> AVState:
            return noise

        estimate = denoise(predict, still, observed, sampler=sampler, warps=model.warps, layout=layout)
        filled = part.plan.fill(model.codebook.snap(estimate.logits_BAKV))
        for block in range(known, last - first):
            audio = slice(block * layout.audio_per_block, (block + 1) * layout.audio_per_block)
            video = slice(block * layout.latents_per_block, (block + 1) * layout.latents_per_block)
            tokens.append(filled[:, audio])
            latents = estimate.clean.video_BFHWC[:, video]
            states.append(AVState(audio_BAD=model.codebook.embed(tokens[-1]), video_BFHWC=latents))
        done = last
    return torch.cat(tokens, dim=1), torch.cat([state.video_BFHWC for state in states], dim=1)


def _overwrite(noisy: AVState, levels: NoiseLevels, finished: AVState) -> tuple[AVState, NoiseLevels]:
    """Put finished blocks at the front, at noise level 0."""
    num_audio, num_video = finished.audio_BAD.shape[1], finished.video_BFHWC.shape[1]
    audio = torch.cat([finished.audio_BAD, noisy.audio_BAD[:, num_audio:]], dim=1)
    video = torch.cat([finished.video_BFHWC, noisy.video_BFHWC[:, num_video:]], dim=1)
    audio_level, video_level = levels.audio_BA.clone(), levels.video_BF.clone()
    audio_level[:, :num_audio] = 0
    video_level[:, :num_video] = 0
    return AVState(audio_BAD=audio, video_BFHWC=video), NoiseLevels(audio_BA=audio_level, video_BF=video_level)
