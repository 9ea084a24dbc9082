"""Preference for reacting: the recording wins against what the same student does when it cannot perceive its user.

No labels are needed, as the loser is made by leaving the user out (Avatar Forcing, Ki et al. 2026, arXiv:2601.00664).
The loss is that of Diffusion-DPO (Wallace et al. 2023, arXiv:2311.12908) per modality: errors of clean
estimates take the place of log-likelihoods, nats of tokens for audio and squared velocity errors for video, against
those of a frozen reference at the same noise.

    B windows   S blocks
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import Context
from avatar_lab.diffusion.flow import mix, velocity_error
from avatar_lab.diffusion.levels import block_levels
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.level import Level
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates, condition
from avatar_lab.objective.joint_flow import gaussian_like, token_cross_entropy
from avatar_lab.objective.losses import Losses, masked_mean
from avatar_lab.objective.own_rollout import own_rollout, rollout_seed
from avatar_lab.rollout.rollout import observed_audio
from avatar_lab.tensors import AVState, DyadBatch, NoiseLevels, join


def preference_loss(won: Tensor, lost: Tensor, won_reference: Tensor, lost_reference: Tensor, beta: float) -> Tensor:
    """``-log sigmoid(-beta ((won - won_reference) - (lost - lost_reference)))`` of errors (B,): log 2 where the model
    is its reference, less where it has moved towards the winners and away from the losers."""
    return F.softplus(beta * ((won - won_reference) - (lost - lost_reference)))


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One candidate: clean states and tokens of a window, and its noisy version."""

    clean: AVState
    tokens_BAK: Tensor
    noisy: AVState


class Preference:
    """Losses of the student.

    sampler                 the student's, for the losers; errors are compared at its steps
    beta_audio, beta_video  how far the student may move from the reference; larger holds it nearer
    """

    def __init__(
        self,
        *,
        silence_K: Tensor,
        rates: ConditionRates,
        sampler: Sampler,
        beta_audio: float,
        beta_video: float,
        audio_weight: float = 1.0,
        video_weight: float = 1.0,
    ) -> None:
        if min(beta_audio, beta_video) <= 0:
            raise ValueError(f"beta_audio {beta_audio:g} and beta_video {beta_video:g} must be above 0")
        self.silence_K, self.rates, self.sampler = silence_K, rates, sampler
        self.betas = {"audio": beta_audio, "video": beta_video}
        self.weights = {"audio": audio_weight, "video": video_weight}

    def __call__(self, student: AvatarModel, reference: AvatarModel, batch: DyadBatch, rng: torch.Generator) -> Losses:
        window = condition(student, batch, self.rates, self.silence_K, student.level, rng)
        context = window.context
        lost, lost_tokens_BAK = self._without_user(student, context, batch, rng)
        noise = gaussian_like(window.clean, rng)
        u_P = torch.tensor(self.sampler.steps)
        u_BS = u_P[torch.randint(len(u_P), context.user.hears_BS.shape, generator=rng)].to(noise.audio_BAD.device)
        observed = observed_audio(student, context.plan, window.tokens_BAK.shape[1])
        unheld = block_levels(u_BS, u_BS, student.warps, student.layout)
        candidates, levels = [], unheld
        for clean, tokens_BAK in ((window.clean, window.tokens_BAK), (lost, lost_tokens_BAK)):
            noisy, levels = observed.hold(mix(clean, noise, unheld), unheld)
            candidates.append(Candidate(clean=clean, tokens_BAK=tokens_BAK, noisy=noisy))
        masks = {"audio": window.audio_loss_BA, "video": window.video_loss_BF}
        own = [_errors(student, each, levels, context, masks) for each in candidates]
        with torch.no_grad():
            frozen = [_errors(reference, each, levels, context, masks) for each in candidates]
        terms, logs = {}, {}
        for name, beta in self.betas.items():
            won, lost_error, won_reference, lost_reference = (found[name] for found in (*own, *frozen))
            terms[name] = preference_loss(won, lost_error, won_reference, lost_reference, beta)
            closer = (won - won_reference).detach() < (lost_error - lost_reference).detach()
            logs[f"preference/accuracy_{name}"] = closer.float().mean()
        return Losses(terms=terms, weights=self.weights, logs=logs)

    def _without_user(
        self, student: AvatarModel, context: Context, batch: DyadBatch, rng: torch.Generator
    ) -> tuple[AVState, Tensor]:
        """The student's rollout of the same script when it neither hears nor sees."""
        blocks = own_rollout(student, context, batch, sampler=self.sampler, seed=rollout_seed(rng), level=Level.TALK)
        return join([block.clean for block in blocks]), torch.cat([block.tokens_BAK for block in blocks], dim=1)


def _errors(
    model: AvatarModel, candidate: Candidate, levels: NoiseLevels, context: Context, masks: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Error per window (B,) and modality, with what the candidate itself did before as history."""
    estimate = model.estimate_window(candidate.noisy, levels, context, role=Role.CAUSAL, history=candidate.clean)
    entropy_BA = token_cross_entropy(estimate.logits_BAKV, candidate.tokens_BAK)
    error_BF = velocity_error(estimate.clean.video_BFHWC, candidate.clean.video_BFHWC, levels.video_BF)
    return {"audio": masked_mean(entropy_BA, masks["audio"]), "video": masked_mean(error_BF, masks["video"])}
