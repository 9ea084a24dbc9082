"""A camera that goes off and on again and again in a long conversation, and the seams that this leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar_lab.context import Context
from avatar_lab.evaluation.outcomes import CONTROL, Pair, Trial, largest_steps
from avatar_lab.evaluation.treatments import Scene
from avatar_lab.evaluation.units import Unit
from avatar_lab.layout import Layout, Stream


def off_stretches(time_N: Tensor, seconds: float) -> Tensor:
    """Bool (N,): times in every second stretch of ``seconds``; the first stretch is on."""
    return (time_N / seconds + 1e-6).floor() % 2 == 1


@dataclass(frozen=True, kw_only=True)
class Toggle:
    """The user's camera is off in every second stretch of ``seconds``, from the beginning of the conversation."""

    seconds: float = 20.0
    stream: Stream = Stream.USER_VIDEO

    def baseline(self, context: Context, scene: Scene) -> Context:
        return context

    def edit(self, context: Context, scene: Scene) -> Context:
        user, layout = context.user, scene.layout
        grid = float(layout.grid(self.stream))
        token_G = torch.arange(user.video_present_BG.shape[1]) - layout.lead_tokens(self.stream)
        block_S = torch.arange(user.sees_BS.shape[1])
        off_G = off_stretches(token_G.clamp(min=0) * grid, self.seconds)
        off_S = off_stretches(block_S * float(layout.block_seconds), self.seconds)
        return replace(
            context,
            user=replace(user, video_present_BG=user.video_present_BG & ~off_G, sees_BS=user.sees_BS & ~off_S),
        )

    def first_block(self, unit: Unit, layout: Layout) -> int:
        return layout.num_blocks(self.seconds)


@dataclass(frozen=True, kw_only=True)
class Seams:
    """Largest step between successive latents around a toggle, relative to the median step of the control: mean over
    the toggles of a conversation, against the control's at the same places."""

    seconds: float = 20.0
    unit: str = "of median step"

    def pair(self, trial: Trial, arm: str) -> Pair | None:
        control = trial.arms[CONTROL].latents_FHWC
        if control is None:
            return None
        blocks = range(len(control) // trial.layout.latents_per_block)
        off = off_stretches(torch.tensor([trial.layout.start(block) for block in blocks]), self.seconds)
        return largest_steps(trial, arm, (torch.nonzero(off[1:] != off[:-1])[:, 0] + 1).tolist())
