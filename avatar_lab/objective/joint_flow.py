"""The flow objective of both modalities: cross-entropy of audio tokens, mean squared error of video velocity.

Cross-entropy on tokens fits the exact posterior mean of the clean embedding and with it the velocity field (CDCD,
Dieleman et al. 2022, arXiv:2211.15089); the video term is rectified flow (Liu et al. 2022, arXiv:2209.03003). A
bidirectional role trains the teacher; a causal one trains on [clean history | noisy block] (teacher forcing).
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.diffusion.flow import mix, velocity_error
from avatar_lab.diffusion.levels import block_levels, draw_u
from avatar_lab.diffusion.sampler import Observed
from avatar_lab.level import Level
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import Conditioned, ConditionRates, condition
from avatar_lab.objective.losses import Losses, by_noise_level, masked_mean
from avatar_lab.rollout.rollout import observed_audio
from avatar_lab.tensors import AVState, DyadBatch, NoiseLevels


def gaussian_like(state: AVState, rng: torch.Generator) -> AVState:
    """Standard noise in the shape of ``state``, drawn on the generator's device."""

    def normal(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=rng, dtype=x.dtype).to(x.device)

    return AVState(audio_BAD=normal(state.audio_BAD), video_BFHWC=normal(state.video_BFHWC))


class JointFlow:
    """Flow matching at noise levels drawn as in ``diffusion/levels.py``.

    shared, per_modality  shares of windows (blocks, where causal) with one level for all, and one per modality
    tilt                  above 1, levels are drawn towards noise: there alone what a network is told decides what it
                          says, while at low levels the noisy tokens show it; few-step students depend on the first
    audio_mse             audio by the squared velocity error of the expected embedding, as video is; an ablation

    Raises:
        ValueError: ``tilt`` is not positive.
    """

    def __init__(
        self,
        *,
        role: Role,
        silence_K: Tensor,
        rates: ConditionRates,
        level: Level,
        audio_weight: float = 0.2,
        video_weight: float = 1.0,
        shared: float = 0.5,
        per_modality: float = 0.25,
        tilt: float = 1.0,
        audio_mse: bool = False,
    ) -> None:
        if tilt <= 0:
            raise ValueError(f"tilt {tilt:g} must be above 0: 1 draws noise levels evenly, larger ones towards noise")
        self.role, self.silence_K, self.rates, self.level = role, silence_K, rates, level
        self.weights = {"audio": audio_weight, "video": video_weight}
        self.shared, self.per_modality, self.tilt = shared, per_modality, tilt
        self.audio_mse = audio_mse
        self.observe_warp = False
        """Add to the statistics from which the audio warp is fitted."""

    def condition(self, model: AvatarModel, batch: DyadBatch, rng: torch.Generator) -> Conditioned:
        return condition(model, batch, self.rates, self.silence_K, self.level, rng)

    def draw_levels(self, model: AvatarModel, size: int, num_blocks: int, rng: torch.Generator) -> NoiseLevels:
        """In causal training noisy blocks do not see each other, so each draws its levels for itself."""
        device = model.codebook.tables_KVD.device
        draw = partial(draw_u, shared=self.shared, per_modality=self.per_modality, tilt=self.tilt, rng=rng)
        if self.role is Role.CAUSAL:
            flat = draw(size * num_blocks, 1)
            u_audio, u_video = (u.reshape(size, num_blocks).to(device) for u in flat)
        else:
            u_audio, u_video = (u.to(device) for u in draw(size, num_blocks))
        return block_levels(u_audio, u_video, model.warps, model.layout)

    def __call__(self, model: AvatarModel, batch: DyadBatch, rng: torch.Generator) -> Losses:
        window = self.condition(model, batch, rng)
        return self.on_window(model, window, rng)

    def on_window(self, model: AvatarModel, window: Conditioned, rng: torch.Generator) -> Losses:
        """Loss of a conditioned window."""
        noise = gaussian_like(window.clean, rng)
        size, num_blocks = window.context.user.hears_BS.shape
        levels = self.draw_levels(model, size, num_blocks, rng)
        observed: Observed = observed_audio(model, window.context.plan, window.tokens_BAK.shape[1])
        noisy, levels = observed.hold(mix(window.clean, noise, levels), levels)
        history = window.clean if self.role is Role.CAUSAL else None
        estimate = model.estimate_window(
            noisy, levels, window.context, role=self.role, history=history, level=self.level
        )
        entropy_BA = token_cross_entropy(estimate.logits_BAKV, window.tokens_BAK)
        error_BF = velocity_error(estimate.clean.video_BFHWC, window.clean.video_BFHWC, levels.video_BF)
        if self.observe_warp:
            model.warps.observe(levels.audio_BA[window.audio_loss_BA], entropy_BA.detach()[window.audio_loss_BA])
        audio_BA = entropy_BA
        if self.audio_mse:
            audio_BA = velocity_error(estimate.clean.audio_BAD, window.clean.audio_BAD, levels.audio_BA)
        return Losses(
            terms={
                "audio": masked_mean(audio_BA, window.audio_loss_BA),
                "video": masked_mean(error_BF, window.video_loss_BF),
            },
            weights=self.weights,
            logs={
                **by_noise_level("audio", entropy_BA, levels.audio_BA, window.audio_loss_BA),
                **by_noise_level("video", error_BF, levels.video_BF, window.video_loss_BF),
            },
        )


def token_cross_entropy(logits_BAKV: Tensor, tokens_BAK: Tensor) -> Tensor:
    """Mean over codebooks, (B, A), in nats."""
    return F.cross_entropy(logits_BAKV.movedim(-1, 1), tokens_BAK, reduction="none").mean(-1)
