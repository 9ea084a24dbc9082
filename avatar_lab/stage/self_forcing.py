"""Stage ``self_forcing``: the student learns on its own rollouts by distribution matching; a critic follows it.

Cadence and roles as in DMD2 and Self Forcing: the critic is updated every step, the student every few
(``student_every``), and the critic alone during ``critic_warmup``.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import nn

from avatar_lab.checkpoint import BIDIRECTIONAL_STAGE, Checkpoint
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.dmd import SelfForcing as SelfForcingLosses
from avatar_lab.stage.protocol import Turn
from avatar_lab.stage.start import Setting, levels_in, network, started_from
from avatar_lab.tensors import DyadBatch

REPLAYS = ("window", "blocks")


class SelfForcing:
    """Distribution matching at level 2.

    init     the student's start
    teacher  real score and start of the critic: the autoregressive model, or, to see what hindsight does, the
             bidirectional teacher
    all_steps  of a rollout are trained, as one generator, instead of one at random
    replay   how gradients reach the student: ``window``, all blocks in one masked forward per step, or ``blocks``, one
             after the other in the memory of one

    Raises:
        ValueError: ``replay`` is neither, or ``window`` where only the end of a rollout is scored.
    """

    name = "self_forcing"
    trained = ("student", "critic")
    followers = ()
    starts_from = "initialise"
    averaged = ("student",)

    def __init__(
        self,
        *,
        layout: Layout,
        audio_codec: AudioCodec,
        video_codec: VideoCodec,
        init: str,
        teacher: str,
        student_every: int,
        critic_warmup: int,
        rates: ConditionRates,
        audio_weight: float = 0.2,
        video_weight: float = 1.0,
        guidance_listen: float = 1.0,
        guidance_own_audio: float = 1.0,
        video_tilt: float = 1.0,
        scored_blocks: int | None = None,
        all_steps: bool = False,
        replay: str = "window",
    ) -> None:
        if replay not in REPLAYS:
            raise ValueError(f"stage.replay={replay} is not one of {', '.join(REPLAYS)}")
        if scored_blocks is not None and replay == "window":
            raise ValueError(
                f"stage.scored_blocks={scored_blocks} cuts windows off from what came before them, which the student "
                "remembers: choose stage.replay=blocks"
            )
        setting = Setting(layout=layout, audio_codec=audio_codec, video_codec=video_codec)
        student = started_from(init, stage=self.starts_from, level=Level.LISTEN, setting=setting)
        real = started_from(teacher, stage=("autoregressive", BIDIRECTIONAL_STAGE), level=Level.LISTEN, setting=setting)
        self.roles = nn.ModuleDict({"student": student.model, "teacher": real.model, "critic": deepcopy(real.model)})
        self.card = student.descend(stage=self.name, taught_by=real)
        self.student_every, self.critic_warmup, self.replay = student_every, critic_warmup, replay
        self.objective = SelfForcingLosses(
            silence_K=audio_codec.silence_K,
            rates=rates,
            sampler=student.card.sampler,
            all_steps=all_steps,
            guidance={Level.LISTEN: guidance_listen},
            guidance_own_audio=guidance_own_audio,
            audio_weight=audio_weight,
            video_weight=video_weight,
            video_tilt=video_tilt,
            scored_blocks=scored_blocks,
            role=Role.BIDIRECTIONAL if real.card.stage == BIDIRECTIONAL_STAGE else Role.CAUSAL,
        )

    def turns(self, batch: DyadBatch, step: int, rng: torch.Generator) -> Iterator[Turn]:
        """Critic, then student where due, both on one rollout."""
        student, critic = network(self.roles, "student"), network(self.roles, "critic")
        made = self.objective.generate(student, batch, rng, step=step)
        yield "critic", self.objective.critic_loss(critic, made, rng)
        if step >= self.critic_warmup and step % self.student_every == 0:
            losses = self.objective.student_losses if self.replay == "blocks" else self.objective.student_loss
            yield "student", losses(student, network(self.roles, "teacher"), critic, made, rng)

    def export(self, roles: nn.ModuleDict) -> dict[str, Checkpoint]:
        """Level 2, and level 1 inside it."""
        return levels_in(network(roles, "student"), self.card)
