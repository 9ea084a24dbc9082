"""Few-step start by causal ODE regression: the student jumps to where its teacher's ODE ends.

The teacher is the *autoregressive* model, conditioned on the same clean history as the student: the ODE of a
bidirectional teacher is not a function of what a causal student knows (Causal Forcing, arXiv:2602.02214). All blocks of
a window are integrated at once under the teacher-forcing mask.
"""

from __future__ import annotations

from itertools import pairwise

import torch

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.diffusion.sampler import Estimate, Sampler, denoise
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates, condition
from avatar_lab.objective.joint_flow import gaussian_like, token_cross_entropy
from avatar_lab.objective.losses import Losses, masked_mean
from avatar_lab.rollout.rollout import observed_audio
from avatar_lab.tensors import AVState, DyadBatch, NoiseLevels


class CausalTrajectory:
    """Regression from the teacher's ODE states at the student's steps to the ODE's end.

    sampler   the student's; its ``u`` are reached exactly by the teacher's solver
    substeps  Euler steps of the teacher between two student steps
    """

    def __init__(
        self,
        *,
        silence_K: torch.Tensor,
        rates: ConditionRates,
        sampler: Sampler,
        substeps: int = 4,
        audio_weight: float = 0.2,
        video_weight: float = 1.0,
    ) -> None:
        self.silence_K, self.rates, self.sampler = silence_K, rates, sampler
        edges = [*sampler.steps, 0.0]
        fine = [a + (b - a) * i / substeps for a, b in pairwise(edges) for i in range(substeps)]
        self.solver = Sampler(steps=tuple(fine), renoise=False)
        self.starts = [i * substeps for i in range(len(sampler.steps))]
        self.weights = {"audio": audio_weight, "video": video_weight}

    def __call__(self, student: AvatarModel, teacher: AvatarModel, batch: DyadBatch, rng: torch.Generator) -> Losses:
        window = condition(student, batch, self.rates, self.silence_K, student.level, rng)
        noise = gaussian_like(window.clean, rng)
        observed = observed_audio(student, window.context.plan, window.tokens_BAK.shape[1])
        states: dict[int, tuple[AVState, NoiseLevels]] = {}

        def record(index: int, noisy: AVState, levels: NoiseLevels) -> None:
            if index in self.starts:
                states[index] = (noisy, levels)

        def predict(noisy: AVState, levels: NoiseLevels) -> Estimate:
            return teacher.estimate_window(noisy, levels, window.context, role=Role.CAUSAL, history=window.clean)

        with torch.no_grad():
            end = denoise(
                predict,
                lambda _step: noise,
                observed,
                sampler=self.solver,
                warps=teacher.warps,
                layout=teacher.layout,
                observer=record,
            ).estimate
            tokens_BAK = window.context.plan.fill(teacher.codebook.snap(end.logits_BAKV))
        start = self.starts[int(torch.randint(len(self.starts), (1,), generator=rng))]
        noisy, levels = states[start]
        estimate = student.estimate_window(noisy, levels, window.context, role=Role.CAUSAL, history=window.clean)
        error_BF = (estimate.clean.video_BFHWC - end.clean.video_BFHWC).square().mean((2, 3, 4))
        entropy_BA = token_cross_entropy(estimate.logits_BAKV, tokens_BAK)
        return Losses(
            terms={
                "audio": masked_mean(entropy_BA, window.audio_loss_BA),
                "video": masked_mean(error_BF, window.video_loss_BF),
            },
            weights=self.weights,
        )
