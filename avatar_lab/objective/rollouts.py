"""What a student generated in training windows, and how to generate it again under gradients.

B windows   A audio tokens   F latents   K codebooks   V entries
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.context import Context
from avatar_lab.diffusion.sampler import Estimate, Sampler, denoise
from avatar_lab.layout import Layout
from avatar_lab.model.visibility import Role
from avatar_lab.rollout.offline import slice_context
from avatar_lab.rollout.replay import last_alone
from avatar_lab.rollout.rollout import BlockOutput, noise_of, observed_audio
from avatar_lab.tensors import AVState, NoiseLevels, TensorRecord


def exit_of(step: int, num_steps: int) -> int:
    """After how many of ``num_steps`` denoising steps the rollout of a training step ends: as many training steps in a
    row end once after each, in an order that differs. The same on all ranks, so that none waits for a longer rollout.
    """
    turn, place = divmod(step, num_steps)
    return 1 + int(torch.randperm(num_steps, generator=torch.Generator().manual_seed(turn))[place])


@dataclass(frozen=True, kw_only=True)
class Rollouts(TensorRecord):
    """What the student generated in a window, and how to generate it again under gradients."""

    context: Context
    history: AVState
    """Finished blocks: embedded tokens and predicted latents."""
    soft: AVState
    """The student's estimates before snapping."""
    probabilities_BAKV: Tensor
    sampler: Sampler
    """The steps that were taken."""
    all_steps: bool
    """They are trained; else the last of them."""
    seed: int
    conversation_B: Tensor
    """Keys of its noise."""
    audio_generated_BA: Tensor
    video_generated_BF: Tensor
    alive: dict[str, Tensor]
    """How much they move and sound (``liveliness``)."""
    whole: Context
    """Of all blocks, while ``context`` and the rest may be of the last ones only."""
    blocks: list[BlockOutput]
    """All of them."""

    @property
    def first(self) -> int:
        """The block of the whole rollout that ``context`` begins with."""
        return self.whole.num_blocks - self.context.num_blocks

    def last_blocks(self, num_blocks: int, layout: Layout) -> Rollouts:
        """The last blocks as a window of their own, which knows nothing of what was before, as a recorded one does.

        Raises:
            ValueError: there are not as many.
        """
        total = self.context.num_blocks
        if not 1 <= num_blocks <= total:
            raise ValueError(f"stage.scored_blocks={num_blocks} must be 1 to {total}, the blocks of a window")
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
            audio_generated_BA=self.audio_generated_BA[:, audio],
            video_generated_BF=self.video_generated_BF[:, video],
        )


def again(student: AvatarModel, made: Rollouts) -> Estimate:
    """What the student said, under gradients: all blocks at once on the history that came of it."""

    def predict(noisy: AVState, levels: NoiseLevels) -> Estimate:
        return student.estimate_window(noisy, levels, made.context, role=Role.CAUSAL, history=made.history)

    blocks = range(made.first, made.whole.num_blocks)
    like = made.context.anchor.picture_BHWC
    return denoise(
        predict if made.all_steps else last_alone(predict, made.sampler),
        noise_of(student, like, seed=made.seed, conversation_B=made.conversation_B, blocks=blocks),
        observed_audio(student, made.context.plan, made.soft.audio_BAD.shape[1]),
        sampler=made.sampler,
        warps=student.warps,
        layout=student.layout,
    )
