"""A discriminator beside the scores of ``dmd.py``, which has seen recordings.

Scores pull a student towards the autoregressive model and no further, and seek modes: few-step students move less than
their teachers. A discriminator on noisy windows, as in DMD2 (Yin et al. 2024, arXiv:2405.14867, section 4.3), compares
with the recordings themselves. It judges video on a whole window, what comes after included, under the same conditions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import Context
from avatar_lab.diffusion.flow import expand, mix
from avatar_lab.diffusion.levels import block_levels
from avatar_lab.model.visibility import Role
from avatar_lab.objective.joint_flow import gaussian_like
from avatar_lab.objective.losses import Losses, masked_mean
from avatar_lab.objective.rollouts import Rollouts
from avatar_lab.rollout.rollout import observed_audio
from avatar_lab.tensors import AVState, NoiseLevels


class Discriminator(nn.Module):
    """The bidirectional teacher with one logit per latent in place of its heads, as in DMD2 (Yin et al. 2024,
    arXiv:2405.14867, section 4.3). It sees a window whole, with what comes after: a reaction that is missing shows."""

    def __init__(self, model: AvatarModel) -> None:
        super().__init__()
        self.model = model
        for head in (model.net.audio_out, model.net.video_out):
            head.requires_grad_(False)
        model.net.scale_shift_out.requires_grad_(False)
        self.head = nn.Linear(model.net.width, 1).to(model.net.scale_shift_out)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, noisy: AVState, levels: NoiseLevels, context: Context) -> Tensor:
        """Logits (B, F), positive where a latent looks recorded."""
        net = self.model.net
        x_BTD, _ = net.hidden(noisy, levels, context, role=Role.BIDIRECTIONAL, history=None, level=None)
        blocks = net.norm_out(x_BTD).unflatten(1, (-1, net.tokens_per_block))
        video = blocks[:, :, net.layout.audio_per_block :].flatten(1, 2)
        latents_BFD = video.unflatten(1, (-1, net.patches.per_latent)).mean(dim=2)
        return self.head(latents_BFD)[..., 0]


@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """Non-saturating losses (Goodfellow et al. 2014, arXiv:1406.2661) on windows at noise levels uniform in
    ``[min_u, 1 - min_u]`` in u, one per block, of which both modalities and both sides have the same."""

    weight: float = 1.0
    min_u: float = 0.02

    def discriminator_loss(self, discriminator: Discriminator, made: Rollouts, rng: torch.Generator) -> Losses:
        """Tell the recordings of a batch from what the student made under their conditions."""
        seed = int(torch.randint(2**31, (1,), generator=rng))
        recorded, generated = (
            self._logits(discriminator, made, state, torch.Generator().manual_seed(seed))
            for state in (made.recorded, made.history)
        )
        mask = made.video_generated_BF
        right = 0.5 * (masked_mean((recorded > 0).float(), mask) + masked_mean((generated < 0).float(), mask))
        return Losses(
            terms={
                "recorded": masked_mean(softplus(-recorded), mask),
                "generated": masked_mean(softplus(generated), mask),
            },
            weights={"recorded": 1.0, "generated": 1.0},
            logs={"right": right.mean()},
        )

    def pull(
        self,
        discriminator: Discriminator,
        made: Rollouts,
        rng: torch.Generator,
        video_BFHWC: Tensor,
        scores_BFHWC: Tensor,
    ) -> Tensor:
        """The gradient on the student's clean video latents, zero outside generated ones, scaled for each sample to
        ``weight`` times the mean size of what the scores pull with (``scores``)."""
        mask = made.video_generated_BF
        with torch.enable_grad():
            video = video_BFHWC.detach().requires_grad_()
            state = AVState(audio_BAD=made.history.audio_BAD, video_BFHWC=video)
            loss_BF = softplus(-self._logits(discriminator, made, state, rng))
            (found,) = torch.autograd.grad((loss_BF * mask).sum(), video)
        found = found * expand(mask, found)
        ratio_B = masked_mean(scores_BFHWC.abs(), mask) / masked_mean(found.abs(), mask).clamp(min=1e-12)
        return self.weight * ratio_B.reshape(-1, *(1,) * (found.ndim - 1)) * found

    def _logits(self, discriminator: Discriminator, made: Rollouts, state: AVState, rng: torch.Generator) -> Tensor:
        model = discriminator.model
        noise = gaussian_like(state, rng)
        u_BS = torch.rand(made.context.user.hears_BS.shape, generator=rng).to(state.audio_BAD.device)
        u_BS = self.min_u + (1 - 2 * self.min_u) * u_BS
        levels = block_levels(u_BS, u_BS, model.warps, model.layout)
        observed = observed_audio(model, made.context.plan, state.audio_BAD.shape[1])
        return discriminator(*observed.hold(mix(state, noise, levels), levels), made.context)
