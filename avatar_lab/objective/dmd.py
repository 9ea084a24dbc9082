"""Distribution matching distillation of a causal student on its own rollouts, both modalities at once.

DMD (Yin et al. 2023, arXiv:2311.18828, eq. 7) moves generated samples along the difference of two scores; here the
real score is the autoregressive model, the fake one a critic trained on what the student makes now, and samples come
from the student's own cached rollout (Self Forcing, Huang et al. 2025, arXiv:2506.08009). Scores and gradients live
on clean estimates; for audio that is the expected embedding. It lies between entries of the codebook, where the
likelihood of both scores favours the nearest entry, so the audio term is best kept small (experiments/LOG.md).

A rollout without gradients followed by one masked forward of its recorded last steps gives the same gradient as
back-propagating through the loop, whose cache is detached anyway; that the two agree is a tested identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import Context
from avatar_lab.diffusion.flow import expand, mix, velocity_error
from avatar_lab.diffusion.levels import block_levels
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates, condition
from avatar_lab.objective.joint_flow import gaussian_like
from avatar_lab.objective.liveliness import liveliness
from avatar_lab.objective.losses import Losses, masked_mean
from avatar_lab.objective.own_rollout import own_rollout
from avatar_lab.rollout.offline import slice_context
from avatar_lab.rollout.rollout import observed_audio
from avatar_lab.tensors import AVState, DyadBatch, NoiseLevels, TensorRecord, join


def dmd_gradient(fake: Tensor, real: Tensor, clean: Tensor, generated: Tensor) -> Tensor:
    """``(fake - real) / max(mean |clean - real|, 1e-3)``, zero outside ``generated``; the mean is per sample.

    fake, real  clean estimates of critic and real score; clean  the student's sample; all (B, tokens, ...)
    generated   (B, tokens) bool; a sample without generated tokens gets gradient 0
    """
    scale_B = masked_mean((clean - real).abs(), generated).clamp(min=1e-3)
    gradient = (fake - real) / scale_B.reshape(-1, *(1,) * (clean.ndim - 1))
    return gradient * expand(generated, clean)


def dmd_loss(clean: Tensor, gradient: Tensor, generated: Tensor) -> Tensor:
    """Per-sample loss whose derivative with respect to ``clean`` is ``gradient``, averaged over generated values."""
    target = (clean - gradient).detach()
    return 0.5 * masked_mean((clean - target).square(), generated)


@dataclass(frozen=True, kw_only=True)
class Rollouts(TensorRecord):
    """What the student generated in a window, and how to generate it again under gradients."""

    context: Context
    history: AVState
    """Finished blocks: embedded tokens and predicted latents."""
    soft: AVState
    """The student's estimates before snapping."""
    probabilities_BAKV: Tensor
    noisy: AVState
    levels: NoiseLevels
    audio_generated_BA: Tensor
    video_generated_BF: Tensor
    alive: dict[str, Tensor]
    """How much they move and sound (``liveliness``)."""

    def last_blocks(self, num_blocks: int, layout: Layout) -> Rollouts:
        """The last blocks as a window of their own, which knows nothing of what was before, as a recorded one does."""
        total = self.context.num_blocks
        audio = slice((total - num_blocks) * layout.audio_per_block, None)
        video = slice((total - num_blocks) * layout.latents_per_block, None)

        def cut(state: AVState) -> AVState:
            return AVState(audio_BAD=state.audio_BAD[:, audio], video_BFHWC=state.video_BFHWC[:, video])

        return replace(
            self,
            context=slice_context(self.context, layout, total - num_blocks, total),
            history=cut(self.history),
            soft=cut(self.soft),
            probabilities_BAKV=self.probabilities_BAKV[:, audio],
            noisy=cut(self.noisy),
            levels=NoiseLevels(audio_BA=self.levels.audio_BA[:, audio], video_BF=self.levels.video_BF[:, video]),
            audio_generated_BA=self.audio_generated_BA[:, audio],
            video_generated_BF=self.video_generated_BF[:, video],
        )


class SelfForcing:
    """Losses of student and critic.

    sampler    the student's steps; the exit step is drawn anew for each rollout and shared by all of its blocks
    guidance   scale of the real score per level (``uncond + s (cond - uncond)``)
    role       how both scores see a window: causal on the student's history, or bidirectional, an ablation whose real
               score knows what comes after
    min_u      levels at which scores are compared are uniform in [min_u, 1 - min_u]
    scored_blocks  only so many blocks at the end of a rollout are scored; ``None``: all. What the student has drifted
                   to by then is what it learns from, as in LongLive (Yang et al. 2025, arXiv:2509.22622)
    """

    def __init__(
        self,
        *,
        silence_K: Tensor,
        rates: ConditionRates,
        sampler: Sampler,
        guidance: Mapping[Level, float] | None = None,
        audio_weight: float = 0.2,
        video_weight: float = 1.0,
        min_u: float = 0.02,
        scored_blocks: int | None = None,
        role: Role = Role.CAUSAL,
    ) -> None:
        self.silence_K, self.rates, self.sampler = silence_K, rates, sampler
        self.guidance = guidance or {}
        self.weights = {"audio": audio_weight, "video": video_weight}
        self.min_u, self.scored_blocks, self.role = min_u, scored_blocks, role

    def generate(self, student: AvatarModel, batch: DyadBatch, rng: torch.Generator, *, step: int) -> Rollouts:
        """Roll the student out on the conditions of a batch, exiting at the random step that belongs to training step
        ``step``: the same on all ranks, so that none waits for another's longer rollout."""
        window = condition(student, batch, self.rates, self.silence_K, student.level, rng)
        exit_rng = torch.Generator().manual_seed(step)
        num_steps = 1 + int(torch.randint(len(self.sampler.steps), (1,), generator=exit_rng))
        blocks = own_rollout(student, window.context, batch, rng, sampler=self.sampler, num_steps=num_steps)
        estimate = [block.denoised.estimate for block in blocks]
        history = join([block.clean for block in blocks])
        silence_D = student.codebook.embed(self.silence_K.to(history.audio_BAD.device))
        made = Rollouts(
            context=window.context,
            history=history,
            soft=join([e.clean for e in estimate]),
            probabilities_BAKV=torch.cat([e.logits_BAKV.softmax(-1) for e in estimate], dim=1),
            noisy=join([block.denoised.noisy for block in blocks]),
            levels=NoiseLevels(
                audio_BA=torch.cat([block.denoised.levels.audio_BA for block in blocks], dim=1),
                video_BF=torch.cat([block.denoised.levels.video_BF for block in blocks], dim=1),
            ),
            audio_generated_BA=window.audio_loss_BA,
            video_generated_BF=window.video_loss_BF,
            alive=liveliness(
                history,
                window.clean,
                silence_D=silence_D,
                audio_BA=window.audio_loss_BA,
                video_BF=window.video_loss_BF,
            ),
        )
        return made if self.scored_blocks is None else made.last_blocks(self.scored_blocks, student.layout)

    def critic_loss(self, critic: AvatarModel, made: Rollouts, rng: torch.Generator) -> Losses:
        """Flow objective on the student's soft samples: with the soft token distribution as target, the critic's
        expected embedding is the posterior mean of the student's own output."""
        noisy, levels = self._noise(critic, made, made.soft, rng)
        estimate = critic.estimate_window(noisy, levels, made.context, role=self.role, history=self._history(made))
        log_probabilities = estimate.logits_BAKV.log_softmax(-1)
        entropy_BA = -(made.probabilities_BAKV * log_probabilities).sum(-1).mean(-1)
        error_BF = velocity_error(estimate.clean.video_BFHWC, made.soft.video_BFHWC, levels.video_BF)
        terms = {
            "audio": masked_mean(entropy_BA, made.audio_generated_BA),
            "video": masked_mean(error_BF, made.video_generated_BF),
        }
        return Losses(terms=terms, weights=self.weights, logs=made.alive)

    def student_loss(
        self, student: AvatarModel, teacher: AvatarModel, critic: AvatarModel, made: Rollouts, rng: torch.Generator
    ) -> Losses:
        """Replay the rollout's last steps under gradients and pull them along the score difference."""
        clean = student.estimate_window(
            made.noisy, made.levels, made.context, role=Role.CAUSAL, history=made.history
        ).clean
        with torch.no_grad():
            noisy, levels = self._noise(student, made, clean.detach(), rng)
            window = partial(self._score, made=made, noisy=noisy, levels=levels)
            fake, real = window(critic, guidance={}), window(teacher, guidance=self.guidance)
        terms, logs = {}, {}
        for name, x, f, r, mask in (
            ("audio", clean.audio_BAD, fake.audio_BAD, real.audio_BAD, made.audio_generated_BA),
            ("video", clean.video_BFHWC, fake.video_BFHWC, real.video_BFHWC, made.video_generated_BF),
        ):
            gradient = dmd_gradient(f, r, x.detach(), mask)
            terms[name] = dmd_loss(x, gradient, mask)
            logs[f"dmd/gradient_{name}"] = gradient.abs().mean()
        return Losses(terms=terms, weights=self.weights, logs=logs)

    def _score(
        self,
        model: AvatarModel,
        *,
        made: Rollouts,
        noisy: AVState,
        levels: NoiseLevels,
        guidance: Mapping[Level, float],
    ) -> AVState:
        """Clean estimate of a score network on the student's history."""
        return model.guided_window(
            noisy, levels, made.context, role=self.role, history=self._history(made), guidance=guidance
        ).clean

    def _history(self, made: Rollouts) -> AVState | None:
        """What a score is told of earlier blocks; in a bidirectional one they are noisy tokens like all others."""
        return made.history if self.role is Role.CAUSAL else None

    def _noise(
        self, model: AvatarModel, made: Rollouts, clean: AVState, rng: torch.Generator
    ) -> tuple[AVState, NoiseLevels]:
        """Noise a sample at one level per block, shared by both modalities; observed audio stays clean."""
        noise = gaussian_like(clean, rng)
        u_BS = torch.rand(made.context.user.hears_BS.shape, generator=rng).to(clean.audio_BAD.device)
        u_BS = self.min_u + (1 - 2 * self.min_u) * u_BS
        levels = block_levels(u_BS, u_BS, model.warps, model.layout)
        observed = observed_audio(model, made.context.plan, clean.audio_BAD.shape[1])
        return observed.hold(mix(clean, noise, levels), levels)
