"""Few-step start by causal consistency distillation: along the teacher's ODE the student says the same everywhere.

At two neighbouring points of one trajectory the student's clean estimate at the noisier one is pulled to that of its
own slow copy at the other (consistency distillation, Song et al. 2023, arXiv:2303.01469, algorithm 2). As in
``trajectory``, the ODE is that of the autoregressive model on a clean history. Only one step of it is taken, so a
training step costs four forward passes whatever the number of points; what consistency means for tokens is equal token
probabilities, hence a cross-entropy.

    B batch   S blocks   A audio tokens   F latents   K codebooks   V entries
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.diffusion.flow import mix
from avatar_lab.diffusion.levels import block_levels
from avatar_lab.diffusion.sampler import Estimate, Sampler, euler
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates, condition
from avatar_lab.objective.joint_flow import gaussian_like
from avatar_lab.objective.losses import Losses, masked_mean
from avatar_lab.rollout.rollout import observed_audio
from avatar_lab.tensors import DyadBatch


def trajectory_points(steps: Sequence[float], intervals: int) -> list[float]:
    """Points in ``u`` from 1 to 0: ``intervals`` equal ones, and the student's own steps, from which it must jump."""
    even = [1 - i / intervals for i in range(intervals)]
    return sorted({round(u, 6) for u in (*even, *steps)}, reverse=True) + [0.0]


class CausalConsistency:
    """Losses of the student.

    sampler    the student's; its steps are among the points
    intervals  of the ODE between noise and data: few are learned sooner, many follow the ODE better
    """

    def __init__(
        self,
        *,
        silence_K: Tensor,
        rates: ConditionRates,
        sampler: Sampler,
        intervals: int = 10,
        audio_weight: float = 0.2,
        video_weight: float = 1.0,
    ) -> None:
        if intervals < 1:
            raise ValueError(f"intervals {intervals} must be at least 1: the ODE needs a step")
        self.silence_K, self.rates = silence_K, rates
        self.u_P = torch.tensor(trajectory_points(sampler.steps, intervals))
        self.weights = {"audio": audio_weight, "video": video_weight}

    def __call__(
        self, student: AvatarModel, slow: AvatarModel, teacher: AvatarModel, batch: DyadBatch, rng: torch.Generator
    ) -> Losses:
        """``slow`` is the average of the student, which the estimate is pulled to."""
        window = condition(student, batch, self.rates, self.silence_K, student.level, rng)
        observed = observed_audio(student, window.context.plan, window.tokens_BAK.shape[1])
        device = window.clean.audio_BAD.device
        point_BS = torch.randint(len(self.u_P) - 1, window.context.user.hears_BS.shape, generator=rng)
        now_BS, next_BS = self.u_P[point_BS].to(device), self.u_P[point_BS + 1].to(device)
        levels, closer_levels = (block_levels(u, u, student.warps, student.layout) for u in (now_BS, next_BS))
        path = mix(window.clean, gaussian_like(window.clean, rng), levels)
        noisy, held = observed.hold(path, levels)
        with torch.no_grad():
            guess = teacher.estimate_window(noisy, held, window.context, role=Role.CAUSAL, history=window.clean)
            closer, closer_held = observed.hold(euler(noisy, guess.clean, levels, closer_levels), closer_levels)
            there = slow.estimate_window(closer, closer_held, window.context, role=Role.CAUSAL, history=window.clean)
            target = _at_the_end(next_BS == 0, guess, there)
        estimate = student.estimate_window(noisy, held, window.context, role=Role.CAUSAL, history=window.clean)
        entropy_BA = -(target.logits_BAKV.softmax(-1) * estimate.logits_BAKV.log_softmax(-1)).sum(-1).mean(-1)
        error_BF = (estimate.clean.video_BFHWC - target.clean.video_BFHWC).square().mean((2, 3, 4))
        return Losses(
            terms={
                "audio": masked_mean(entropy_BA, window.audio_loss_BA),
                "video": masked_mean(error_BF, window.video_loss_BF),
            },
            weights=self.weights,
        )


def _at_the_end(last_BS: Tensor, guess: Estimate, there: Estimate) -> Estimate:
    """The boundary condition: the last step of the ODE ends at the teacher's estimate; elsewhere the copy speaks."""

    def choose(x: Tensor, y: Tensor) -> Tensor:
        last = last_BS.repeat_interleave(x.shape[1] // last_BS.shape[1], dim=1)
        return torch.where(last.reshape(*last.shape, *(1,) * (x.ndim - 2)), x, y)

    return Estimate(
        clean=guess.clean.combine(there.clean, choose), logits_BAKV=choose(guess.logits_BAKV, there.logits_BAKV)
    )
