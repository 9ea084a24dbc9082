"""What a training window is conditioned on: which streams are there, what of the own audio is given, where loss counts.

B windows   S blocks   A, E, F as in tensors.py
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import Context, OwnAudio, open_where_heard, perceive, plan_own_audio
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.tensors import AVState, DyadBatch, TensorRecord


@dataclass(frozen=True, kw_only=True)
class ConditionRates:
    """Probabilities per window (design sections 4 and 5)."""

    free: float = 0.3
    """No script: all own audio is open."""
    no_lookahead: float = 0.1
    no_user_audio: float = 0.15
    no_camera: float = 0.3
    toggle: float = 0.2
    """The camera is switched on or off once, mid-window."""
    no_anchor: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Conditioned(TensorRecord):
    """A window ready for an objective."""

    context: Context
    clean: AVState
    """The recording, with observed silence in place of sounds that the plan forbids."""
    tokens_BAK: Tensor
    audio_loss_BA: Tensor
    """bool: open and recorded."""
    video_loss_BF: Tensor
    """bool: recorded, and not beside own sound that was replaced by silence or that is not known."""


def condition(
    model: AvatarModel, batch: DyadBatch, rates: ConditionRates, silence_K: Tensor, level: Level, rng: torch.Generator
) -> Conditioned:
    """Draw presence, script and anchor of each window; ``level`` bounds what may be perceived."""
    layout = model.layout
    device = batch.audio_BEK.device
    num_blocks = batch.video_BFHWC.shape[1] // layout.latents_per_block

    def chance(probability: float) -> Tensor:
        return (torch.rand(batch.size, generator=rng) < probability).to(device)

    hears_B = ~chance(rates.no_user_audio) & level.listens
    sees_BS = (~chance(rates.no_camera) & level.sees)[:, None].expand(-1, num_blocks)
    switch_B = torch.randint(1, max(2, num_blocks), (batch.size,), generator=rng).to(device)
    toggled_BS = torch.arange(num_blocks, device=device) >= switch_B[:, None]
    toggled_BS = toggled_BS ^ chance(0.5)[:, None]
    sees_BS = torch.where(chance(rates.toggle)[:, None], toggled_BS & level.sees, sees_BS)
    user = perceive(batch, layout, hears_BS=hears_B[:, None].expand(-1, num_blocks), sees_BS=sees_BS)
    # A window that cannot hear is always scripted: what it would say on its own has nothing to go by.
    scripted_B = ~(chance(rates.free) & user.hears_BS.any(dim=1))
    lookahead_B = torch.randint(0, layout.script_lookahead + 1, (batch.size,), generator=rng).to(device)
    plan = plan_own_audio(
        batch,
        silence_K=silence_K.to(device),
        open_BE=open_where_heard(user.hears_BS, layout),
        scripted_B=scripted_B,
        lookahead_B=lookahead_B * ~chance(rates.no_lookahead),
    )
    anchor = batch.anchor.__class__(
        picture_BHWC=batch.anchor.picture_BHWC,
        voice_BNK=batch.anchor.voice_BNK,
        present_B=batch.anchor.present_B & ~chance(rates.no_anchor),
    )
    num_audio = num_blocks * layout.audio_per_block
    state_BA, recorded_BA = plan.state_BE[:, :num_audio], batch.audio_valid_BE[:, :num_audio]
    unlike_BA = (state_BA == OwnAudio.SILENCE) & batch.sound_BE[:, :num_audio] | ~recorded_BA
    tokens_BAK = plan.fill(batch.audio_BEK[:, :num_audio])
    return Conditioned(
        context=Context(plan=plan, user=user, anchor=anchor),
        clean=AVState(audio_BAD=model.codebook.embed(tokens_BAK), video_BFHWC=batch.video_BFHWC),
        tokens_BAK=tokens_BAK,
        audio_loss_BA=(state_BA == OwnAudio.OPEN) & recorded_BA,
        video_loss_BF=batch.video_valid_BF & ~_beside(unlike_BA, layout, batch.video_valid_BF.shape[1]),
    )


def _beside(marked_BA: Tensor, layout: Layout, num_latents: int) -> Tensor:
    """Latents that overlap a marked audio token."""
    spans = [layout.audio_of_latent(f) for f in range(num_latents)]
    return torch.stack([marked_BA[:, span.start : span.stop].any(dim=1) for span in spans], dim=1)
