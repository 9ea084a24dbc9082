"""Tiny models with every gate open, and random conversations that fit them."""

from __future__ import annotations

from dataclasses import replace

import torch

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.codebook import Codebook
from avatar_lab.context import Context, UserStreams, perceive, plan_own_audio
from avatar_lab.diffusion.warp import Warp, Warps
from avatar_lab.layout import Layout, Stream
from avatar_lab.level import Level
from avatar_lab.model.dit import JointDiT
from avatar_lab.model.video_head import AnchoredHead
from avatar_lab.tensors import Anchor, DyadBatch

GRID = (2, 2, 3)
USER_WIDTH = 12
CODEBOOKS, ENTRIES, WIDTH = 2, 8, 5

LAYOUT = Layout(history_blocks=4, script_lookahead=3, anchor_seconds="12/25", user_seconds="16/25")
LAYOUT_30FPS = replace(LAYOUT, fps=30, block_seconds="2/5")


def tiny_codebook(seed: int = 0) -> Codebook:
    rng = torch.Generator().manual_seed(seed)
    return Codebook(torch.randn(CODEBOOKS, ENTRIES, WIDTH, generator=rng))


def tiny_model(
    level: Level = Level.SEE, *, layout: Layout = LAYOUT, dtype: torch.dtype = torch.float64, seed: int = 0
) -> AvatarModel:
    """Random weights, all gates and heads non-zero. The same seed gives nested models of all levels."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _build(Level.SEE, layout)
        for name, parameter in model.named_parameters():
            if "gate" in name or "_out.weight" in name:
                torch.nn.init.normal_(parameter, std=0.5)
        nested = _build(level, layout)
    nested.load_state_dict({k: v for k, v in model.state_dict().items() if k in nested.state_dict()})
    return nested.to(dtype).eval()


def _build(level: Level, layout: Layout) -> AvatarModel:
    net = JointDiT(
        layout=layout,
        codebook=tiny_codebook(),
        grid=GRID,
        user_width=USER_WIDTH,
        level=level,
        video_head=AnchoredHead(),
        width=24,
        num_heads=2,
        num_layers=2,
        patch=1,
    )
    return AvatarModel(net=net, warps=Warps(audio=Warp(shift=1.0), video=Warp(shift=2.0)))


def random_batch(
    *, layout: Layout = LAYOUT, size: int = 2, num_blocks: int = 6, dtype: torch.dtype = torch.float64, seed: int = 0
) -> DyadBatch:
    """Noise in the shape of a conversation, half of the own audio scripted."""
    rng = torch.Generator().manual_seed(seed)
    audio = num_blocks * layout.audio_per_block
    latents = num_blocks * layout.latents_per_block
    heard = layout.lead_tokens(Stream.USER_AUDIO) + audio
    seen = layout.lead_tokens(Stream.USER_VIDEO) + latents
    extended = audio + layout.script_lookahead

    def tokens(*shape: int) -> torch.Tensor:
        return torch.randint(ENTRIES, (size, *shape, CODEBOOKS), generator=rng)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(size, *shape, generator=rng, dtype=torch.float64).to(dtype)

    def ones(*shape: int) -> torch.Tensor:
        return torch.ones(size, *shape, dtype=torch.bool)

    script = torch.rand(size, extended, generator=rng) < 0.5
    return DyadBatch(
        audio_BEK=tokens(extended),
        script_BE=script,
        sound_BE=script | (torch.rand(size, extended, generator=rng) < 0.2),
        audio_valid_BE=ones(extended),
        video_BFHWC=normal(latents, *GRID),
        video_valid_BF=ones(latents),
        user_audio_BTK=tokens(heard),
        user_audio_valid_BT=ones(heard),
        user_video_BGU=normal(seen, USER_WIDTH),
        user_video_valid_BG=ones(seen),
        anchor=Anchor(picture_BHWC=normal(*GRID), voice_BNK=tokens(layout.anchor_tokens), present_B=ones()),
        sample_B=torch.arange(size) + 100 * seed,
    )


SILENCE_K = torch.zeros(CODEBOOKS, dtype=torch.long)


def context_of(
    batch: DyadBatch, layout: Layout = LAYOUT, *, hears: bool | torch.Tensor = True, sees: bool | torch.Tensor = True
) -> Context:
    """Scripted context, own audio OPEN elsewhere; ``hears``/``sees`` for all blocks at once or as (B, S)."""
    num_blocks = batch.video_BFHWC.shape[1] // layout.latents_per_block
    on = [
        x if isinstance(x, torch.Tensor) else torch.full((batch.size, num_blocks), x, dtype=torch.bool)
        for x in (hears, sees)
    ]
    streams: UserStreams = perceive(batch, layout, hears_BS=on[0], sees_BS=on[1])
    plan = plan_own_audio(
        batch,
        silence_K=SILENCE_K,
        open_BE=torch.ones_like(batch.script_BE),
        scripted_B=torch.ones(batch.size, dtype=torch.bool),
        lookahead_B=torch.full((batch.size,), layout.script_lookahead),
    )
    return Context(plan=plan, user=streams, anchor=batch.anchor)
