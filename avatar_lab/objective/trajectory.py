"""Few-step start by causal ODE regression: the student jumps to where its teacher's ODE ends.

The teacher is the *autoregressive* model, conditioned on the same clean history as the student: the ODE of a
bidirectional teacher is not a function of what a causal student knows (Causal Forcing, arXiv:2602.02214).

Its trajectories are found in two ways. ``on_recording`` integrates all blocks of a window at once, each behind the
recorded past, as training goes. ``on_own_past`` rolls the teacher out through its cache, each block behind what it made
itself: slower, but made once, stored (``make_pairs``) and learned from as often as one likes.

    J  steps of the student; the others as in tensors.py
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import Context, OwnAudio, block_inputs
from avatar_lab.diffusion.levels import block_levels
from avatar_lab.diffusion.sampler import Estimate, Sampler, denoise
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates, condition
from avatar_lab.objective.joint_flow import gaussian_like, token_cross_entropy
from avatar_lab.objective.losses import Losses, masked_mean
from avatar_lab.objective.own_rollout import rollout_seed
from avatar_lab.rollout.rollout import observed_audio, rollout
from avatar_lab.tensors import AVState, DyadBatch, NoiseLevels, TensorRecord, join


@dataclass(frozen=True, kw_only=True)
class Trajectories(TensorRecord):
    """Where the teacher's ODE stands at each of the student's steps, and where it ends."""

    context: Context
    history: AVState
    """What each block comes after."""
    steps_BJ: Tensor
    """The student's steps, in u."""
    noisy_audio_BJAD: Tensor
    noisy_video_BJFHWC: Tensor
    tokens_BAK: Tensor
    """The end: tokens read from it (the plan's where there is one), and latents."""
    video_BFHWC: Tensor
    audio_loss_BA: Tensor
    video_loss_BF: Tensor

    def at(self, index: int) -> AVState:
        """The states at the student's step ``index``."""
        return AVState(audio_BAD=self.noisy_audio_BJAD[:, index], video_BFHWC=self.noisy_video_BJFHWC[:, index])


class CausalTrajectory:
    """Regression from the teacher's ODE states at the student's steps to the ODE's end.

    sampler   the student's; its ``u`` are reached exactly by the teacher's solver
    substeps  Euler steps of the teacher between two student steps
    """

    def __init__(
        self,
        *,
        silence_K: Tensor,
        rates: ConditionRates,
        sampler: Sampler,
        substeps: int = 4,
        audio_weight: float = 0.2,
        video_weight: float = 1.0,
    ) -> None:
        self.silence_K, self.rates, self.sampler = silence_K, rates, sampler
        edges = [*sampler.steps, 0.0]
        fine = [a + (b - a) * i / substeps for a, b in pairwise(edges) for i in range(substeps)]
        self.solver = Sampler(steps=tuple(fine), renoise=0.0, snap=sampler.snap)
        self.starts = [i * substeps for i in range(len(sampler.steps))]
        self.weights = {"audio": audio_weight, "video": video_weight}

    def __call__(self, student: AvatarModel, teacher: AvatarModel, batch: DyadBatch, rng: torch.Generator) -> Losses:
        return self.regress(student, self.on_recording(teacher, batch, rng), rng)

    def regress(self, student: AvatarModel, found: Trajectories, rng: torch.Generator) -> Losses:
        """Losses of the student at one of its steps, drawn from ``rng``.

        Raises:
            ValueError: the trajectories were made for a student with other steps.
        """
        steps = found.steps_BJ[0].tolist()
        if [round(u, 5) for u in steps] != [round(u, 5) for u in self.sampler.steps]:
            raise ValueError(
                f"these trajectories stop at the steps {[round(u, 4) for u in steps]}, the student takes "
                f"{[round(u, 4) for u in self.sampler.steps]}: make them anew with its stage.steps and stage.init"
            )
        start = int(torch.randint(len(self.starts), (1,), generator=rng))
        u_BS = found.steps_BJ.new_full(found.context.user.hears_BS.shape, self.sampler.steps[start])
        levels = block_levels(u_BS, u_BS, student.warps, student.layout)
        observed = observed_audio(student, found.context.plan, found.tokens_BAK.shape[1])
        noisy, levels = observed.hold(found.at(start), levels)
        estimate = student.estimate_window(noisy, levels, found.context, role=Role.CAUSAL, history=found.history)
        error_BF = (estimate.clean.video_BFHWC - found.video_BFHWC).square().mean((2, 3, 4))
        entropy_BA = token_cross_entropy(estimate.logits_BAKV, found.tokens_BAK)
        return Losses(
            terms={
                "audio": masked_mean(entropy_BA, found.audio_loss_BA),
                "video": masked_mean(error_BF, found.video_loss_BF),
            },
            weights=self.weights,
        )

    @torch.no_grad()
    def on_recording(self, teacher: AvatarModel, batch: DyadBatch, rng: torch.Generator) -> Trajectories:
        """Trajectories of all blocks at once, each behind the recorded past, under the teacher-forcing mask."""
        window = condition(teacher, batch, self.rates, self.silence_K, teacher.level, rng)
        noise = gaussian_like(window.clean, rng)
        states: list[AVState] = []

        def record(index: int, noisy: AVState, levels: NoiseLevels) -> None:
            if index in self.starts:
                states.append(noisy)

        def predict(noisy: AVState, levels: NoiseLevels) -> Estimate:
            return teacher.estimate_window(noisy, levels, window.context, role=Role.CAUSAL, history=window.clean)

        end = denoise(
            predict,
            lambda _step: noise,
            observed_audio(teacher, window.context.plan, window.tokens_BAK.shape[1]),
            sampler=self.solver,
            warps=teacher.warps,
            layout=teacher.layout,
            observer=record,
        )
        return self._trajectories(
            window.context,
            history=window.clean,
            states=states,
            tokens_BAK=window.context.plan.fill(teacher.codebook.snap(end.logits_BAKV)),
            video_BFHWC=end.clean.video_BFHWC,
            audio_loss_BA=window.audio_loss_BA,
            video_loss_BF=window.video_loss_BF,
        )

    @torch.no_grad()
    def on_own_past(self, teacher: AvatarModel, batch: DyadBatch, rng: torch.Generator) -> Trajectories:
        """Trajectories block by block through the teacher's cache, each behind what it made before."""
        window = condition(teacher, batch, self.rates, self.silence_K, teacher.level, rng)
        states: list[list[AVState]] = [[] for _ in self.starts]

        def record(index: int, noisy: AVState, levels: NoiseLevels) -> None:
            if index in self.starts:
                states[self.starts.index(index)].append(noisy)

        blocks = list(
            rollout(
                teacher,
                block_inputs(window.context, teacher.layout),
                window.context.anchor,
                sampler=self.solver,
                seed=rollout_seed(rng),
                conversation_B=batch.sample_B,
                observer=record,
            )
        )
        made = join([block.clean for block in blocks])
        num_tokens = window.tokens_BAK.shape[1]
        return self._trajectories(
            window.context,
            history=made,
            states=[join(at_step) for at_step in states],
            tokens_BAK=torch.cat([block.tokens_BAK for block in blocks], dim=1),
            video_BFHWC=made.video_BFHWC,
            audio_loss_BA=window.context.plan.state_BE[:, :num_tokens] == OwnAudio.OPEN,
            video_loss_BF=torch.ones_like(window.video_loss_BF),
        )

    def _trajectories(self, context: Context, *, states: list[AVState], **rest: AVState | Tensor) -> Trajectories:
        size = len(context.plan.lookahead_B)
        return Trajectories(
            context=context,
            steps_BJ=states[0].video_BFHWC.new_tensor(self.sampler.steps).repeat(size, 1),
            noisy_audio_BJAD=torch.stack([state.audio_BAD for state in states], dim=1),
            noisy_video_BJFHWC=torch.stack([state.video_BFHWC for state in states], dim=1),
            **rest,  # type: ignore[arg-type]
        )
