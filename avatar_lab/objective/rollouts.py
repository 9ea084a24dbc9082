"""What a student generated in training windows, and how to generate it again under gradients.

B windows   A audio tokens   F latents   K codebooks   V entries
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from avatar_lab.context import Context
from avatar_lab.layout import Layout
from avatar_lab.rollout.offline import slice_context
from avatar_lab.rollout.rollout import BlockOutput
from avatar_lab.tensors import AVState, NoiseLevels, TensorRecord


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
    whole: Context
    """Of all blocks, while ``context`` and the rest may be of the last ones only."""
    blocks: list[BlockOutput]
    """All of them."""

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
            noisy=cut(self.noisy),
            levels=NoiseLevels(audio_BA=self.levels.audio_BA[:, audio], video_BF=self.levels.video_BF[:, video]),
            audio_generated_BA=self.audio_generated_BA[:, audio],
            video_generated_BF=self.video_generated_BF[:, video],
        )
