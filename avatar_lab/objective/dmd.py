"""Distribution matching distillation of a causal student on its own rollouts, both modalities at once.

DMD (Yin et al. 2023, arXiv:2311.18828, eq. 7) moves generated samples along the difference of two scores; here the
real score is the autoregressive model, the fake one a critic trained on what the student makes now, and samples come
from the student's own cached rollout (Self Forcing, Huang et al. 2025, arXiv:2506.08009). Scores and gradients live
on clean estimates; for audio that is the expected embedding. It lies between entries of the codebook, where the
likelihood of both scores favours the nearest entry, so the audio term is best kept small (experiments/LOG.md).

The rollout runs without gradients; then it runs again with them and with the same noise, either all blocks at once in
a masked forward per step, where the clean history carries gradients too, or block after block on a constant cache
(``rollout/replay``), which is the gradient of the loop and takes the memory of one block. Both say what the rollout
said, a tested identity; all blocks at once only where none was cut off before them.

Which steps are trained is a choice. One: a rollout ends after a random step, which is trained alone, as in Self
Forcing. Its critic then sees the estimates of all steps as one distribution; the first are too still, so the last
becomes too lively. All: every rollout runs to its end, and its steps are trained as they are used, as one generator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.diffusion.flow import expand, mix, velocity_error
from avatar_lab.diffusion.levels import block_levels
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.level import Level
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates, condition
from avatar_lab.objective.joint_flow import gaussian_like
from avatar_lab.objective.liveliness import liveliness
from avatar_lab.objective.losses import Losses, masked_mean
from avatar_lab.objective.own_rollout import own_rollout, rollout_seed
from avatar_lab.objective.rollouts import Rollouts, again, exit_of
from avatar_lab.objective.score_difference import dmd_gradient, dmd_loss
from avatar_lab.rollout.replay import replay
from avatar_lab.rollout.rollout import observed_audio
from avatar_lab.tensors import AVState, DyadBatch, NoiseLevels, TensorRecord, join


@dataclass(frozen=True, kw_only=True)
class Pull:
    """The gradient on a window's clean states, and its size for the log."""

    gradient: AVState
    logs: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Noised(TensorRecord):
    """A sample at the levels where scores are compared, its planned audio held clean; and the same with all of it
    noisy, for a score that is not given the plan."""

    noisy: AVState
    levels: NoiseLevels
    unheld: AVState
    unheld_levels: NoiseLevels


class SelfForcing:
    """Losses of student and critic.

    sampler    the student's steps
    all_steps  rollouts run to their end and all of their steps are trained; else they end after a step that is shared
               by all blocks (``rollouts.exit_of``), and it alone is trained
    guidance   scale of the real score per level (``uncond + s (cond - uncond)``): towards what is heard, and seen
    guidance_own_audio  the same towards its own script, as audio-driven avatars are guided; 1 is none
    role       how both scores see a window: causal on the student's history, or bidirectional, an ablation whose real
               score knows what comes after
    min_u      levels at which the critic is trained and scores are compared are uniform in [min_u, 1 - min_u]
    video_tilt  those of video have density ``tilt * u ** (tilt - 1)``: below 1 more of them where a half smile can be
               told from a whole one; each block then counts alike, else those near data would hardly count
    beyond     the student is pulled by what it perceives beyond this level alone; ``None``: by all it does
    scored_blocks  only so many blocks at the end of a rollout are scored; ``None``: all. What the student has drifted
                   to by then is what it learns from, as in LongLive (Yang et al. 2025, arXiv:2509.22622)

    Raises:
        ValueError: ``video_tilt`` is not above 0.
    """

    def __init__(
        self,
        *,
        silence_K: Tensor,
        rates: ConditionRates,
        sampler: Sampler,
        all_steps: bool = False,
        guidance: Mapping[Level, float] | None = None,
        guidance_own_audio: float = 1.0,
        audio_weight: float = 0.2,
        video_weight: float = 1.0,
        min_u: float = 0.02,
        video_tilt: float = 1.0,
        beyond: Level | None = None,
        scored_blocks: int | None = None,
        role: Role = Role.CAUSAL,
    ) -> None:
        if video_tilt <= 0:
            raise ValueError(f"video_tilt {video_tilt:g} must be above 0; 1 is even, below it is nearer to data")
        self.silence_K, self.rates = silence_K, rates
        self.sampler, self.all_steps = sampler, all_steps
        self.guidance, self.guidance_own_audio = guidance or {}, guidance_own_audio
        self.weights = {"audio": audio_weight, "video": video_weight}
        self.min_u, self.video_tilt = min_u, video_tilt
        self.beyond, self.scored_blocks, self.role = beyond, scored_blocks, role

    def generate(self, student: AvatarModel, batch: DyadBatch, rng: torch.Generator, *, step: int) -> Rollouts:
        """Roll the student out on the conditions of a batch, to its end or to the exit of training step ``step``."""
        window = condition(student, batch, self.rates, self.silence_K, student.level, rng)
        num_steps = len(self.sampler.steps)
        sampler = self.sampler.until(num_steps if self.all_steps else exit_of(step, num_steps))
        seed = rollout_seed(rng)
        blocks = own_rollout(student, window.context, batch, sampler=sampler, seed=seed)
        estimate = [block.estimate for block in blocks]
        history = join([block.clean for block in blocks])
        silence_D = student.codebook.embed(self.silence_K.to(history.audio_BAD.device))
        made = Rollouts(
            context=window.context,
            history=history,
            soft=join([e.clean for e in estimate]),
            probabilities_BAKV=torch.cat([e.logits_BAKV.softmax(-1) for e in estimate], dim=1),
            sampler=sampler,
            all_steps=self.all_steps,
            seed=seed,
            conversation_B=batch.sample_B,
            audio_generated_BA=window.audio_loss_BA,
            video_generated_BF=window.video_loss_BF,
            alive=liveliness(
                history,
                window.clean,
                silence_D=silence_D,
                audio_BA=window.audio_loss_BA,
                video_BF=window.video_loss_BF,
            ),
            whole=window.context,
            blocks=blocks,
        )
        return made if self.scored_blocks is None else made.last_blocks(self.scored_blocks, student.layout)

    def critic_loss(self, critic: AvatarModel, made: Rollouts, rng: torch.Generator) -> Losses:
        """Flow objective on the student's soft samples: with the soft token distribution as target, the critic's
        expected embedding is the posterior mean of the student's own output."""
        noised = self._noise(critic, made, made.soft, rng)
        levels = noised.levels
        estimate = critic.estimate_window(
            noised.noisy, levels, made.context, role=self.role, history=self._history(made)
        )
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
        """Run the rollout again under gradients and pull what comes out along the score difference."""
        clean = again(student, made).clean
        pull = self._pull(student, teacher, critic, made, clean.apply(Tensor.detach), rng)
        return self._pulled(clean, pull, made, logs=pull.logs)

    def student_losses(
        self, student: AvatarModel, teacher: AvatarModel, critic: AvatarModel, made: Rollouts, rng: torch.Generator
    ) -> Iterator[Losses]:
        """The same block by block on a constant cache, in the memory of one block; they add up."""
        pull, layout = self._pull(student, teacher, critic, made, made.soft, rng), student.layout
        replayed = replay(
            student,
            made.whole,
            made.blocks,
            sampler=made.sampler,
            seed=made.seed,
            conversation_B=made.conversation_B,
            first=made.first,
            all_steps=made.all_steps,
        )
        for number, estimate in enumerate(replayed):
            audio, video = (
                slice(number * n, (number + 1) * n) for n in (layout.audio_per_block, layout.latents_per_block)
            )
            yield self._pulled(estimate.clean, pull, made, audio=audio, video=video, logs={} if number else pull.logs)

    @torch.no_grad()
    def _pull(
        self,
        student: AvatarModel,
        teacher: AvatarModel,
        critic: AvatarModel,
        made: Rollouts,
        clean: AVState,
        rng: torch.Generator,
    ) -> Pull:
        """Where the scores want ``clean`` to go.

        With ``beyond`` they are compared after each has lost what it says at that level. What is left is the score of
        what is perceived beyond it, given what the avatar does (as in classifier-free guidance): student and teacher
        may differ in all else, and a student that reacts better than its teacher keeps it.
        """
        noised, history = self._noise(student, made, clean, rng), self._history(made)
        ask = partial(self._score, made=made, noised=noised)
        fake = ask(critic, guidance={})
        real = ask(teacher, guidance=self.guidance, own_audio=self.guidance_own_audio)
        if self.beyond is not None:
            below, known = (
                model.estimate_window(
                    noised.noisy, noised.levels, made.context, role=self.role, history=history, level=self.beyond
                ).clean
                for model in (critic, teacher)
            )
            fake = fake.combine(known.combine(below, torch.sub), torch.add)
        audio = dmd_gradient(fake.audio_BAD, real.audio_BAD, clean.audio_BAD, made.audio_generated_BA)
        parts = 1 if self.video_tilt == 1 else made.context.num_blocks
        video = dmd_gradient(
            fake.video_BFHWC, real.video_BFHWC, clean.video_BFHWC, made.video_generated_BF, parts=parts
        )
        return Pull(
            gradient=AVState(audio_BAD=audio, video_BFHWC=video),
            logs={"dmd/gradient_audio": audio.abs().mean(), "dmd/gradient_video": video.abs().mean()},
        )

    def _pulled(
        self,
        clean: AVState,
        pull: Pull,
        made: Rollouts,
        *,
        audio: slice = slice(None),
        video: slice = slice(None),
        logs: dict[str, Tensor],
    ) -> Losses:
        """Losses of a window, or of those of its tokens that ``clean`` holds."""
        terms = {
            "audio": dmd_loss(clean.audio_BAD, pull.gradient.audio_BAD, made.audio_generated_BA, tokens=audio),
            "video": dmd_loss(clean.video_BFHWC, pull.gradient.video_BFHWC, made.video_generated_BF, tokens=video),
        }
        return Losses(terms=terms, weights=self.weights, logs=logs)

    def _score(
        self,
        model: AvatarModel,
        *,
        made: Rollouts,
        noised: Noised,
        guidance: Mapping[Level, float],
        own_audio: float = 1.0,
    ) -> AVState:
        """Clean estimate of a score network on the student's history.

        Guidance towards the own audio compares with the model that is given no script; it was trained on such windows
        only where it hears its user, so windows with a deaf block have none.
        """
        ask = partial(model.guided_window, role=self.role, history=self._history(made))
        found = ask(noised.noisy, noised.levels, made.context, guidance=guidance).clean
        if own_audio == 1.0:
            return found
        given = ask(noised.noisy, noised.levels, made.context, guidance={}).clean if guidance else found
        free = ask(noised.unheld, noised.unheld_levels, made.context.unscripted(), guidance={}).clean
        hears_B = made.context.user.hears_BS.all(dim=1)

        def guide(x: Tensor, difference: Tensor) -> Tensor:
            return x + (own_audio - 1) * expand(hears_B, x) * difference

        return found.combine(given.combine(free, torch.sub), guide)

    def _history(self, made: Rollouts) -> AVState | None:
        """What a score is told of earlier blocks; in a bidirectional one they are noisy tokens like all others."""
        return made.history if self.role is Role.CAUSAL else None

    def _noise(self, model: AvatarModel, made: Rollouts, clean: AVState, rng: torch.Generator) -> Noised:
        """Noise a sample at one draw per block, shared by both modalities."""
        noise = gaussian_like(clean, rng)
        draw_BS = torch.rand(made.context.user.hears_BS.shape, generator=rng).to(clean.audio_BAD.device)
        audio_BS, video_BS = (
            self.min_u + (1 - 2 * self.min_u) * draw_BS ** (1 / tilt) for tilt in (1.0, self.video_tilt)
        )
        levels = block_levels(audio_BS, video_BS, model.warps, model.layout)
        observed = observed_audio(model, made.context.plan, clean.audio_BAD.shape[1])
        unheld = mix(clean, noise, levels)
        held, held_levels = observed.hold(unheld, levels)
        return Noised(noisy=held, levels=held_levels, unheld=unheld, unheld_levels=levels)
