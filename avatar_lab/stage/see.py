"""Stage ``see``: level 3 as a pure addition to a frozen level 2.

The camera branch that the autoregressive model has learned (``see_teacher``) is copied onto the frozen student; then,
for as many steps as are asked for, it alone is distilled on the student's rollouts, with the camera-aware
autoregressive model as real score. It is pulled by what the camera says and by nothing else (``SelfForcing.beyond``),
so the critic is the whole network: it has to know the student without its camera as well. Level 2's weights do not
move, which the export checks by digest.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from avatar_lab.checkpoint import Checkpoint, at_level, weights_sha256
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.dmd import SelfForcing
from avatar_lab.objective.losses import Losses
from avatar_lab.stage.see_teacher import branch_state, train_branch_only
from avatar_lab.stage.start import Setting, network, started_from
from avatar_lab.tensors import DyadBatch

STUDENTS = ("self_forcing", "long_tune", "preference")
"""Stages that make a few-step level 2."""


class See:
    """Distribution matching on the student's branch, which starts as the teacher's.

    init       the level-2 student; teacher  the autoregressive level 3
    all_steps  as in ``self_forcing``
    """

    name = "see"
    trained = ("student", "critic")
    followers = ()
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
        guidance_see: float = 1.0,
        all_steps: bool = False,
    ) -> None:
        setting = Setting(layout=layout, audio_codec=audio_codec, video_codec=video_codec)
        student = started_from(init, stage=STUDENTS, level=Level.SEE, setting=setting)
        real = started_from(teacher, stage="see_teacher", level=Level.SEE, setting=setting)
        self.level2 = weights_sha256(at_level(student.model, Level.LISTEN))
        self.card = student.descend(stage=self.name, taught_by=real)
        self.student_every, self.critic_warmup = student_every, critic_warmup
        student.model.load_state_dict(branch_state(real.model), strict=False)
        self.roles = nn.ModuleDict(
            {
                "teacher": real.model,
                "student": train_branch_only(student.model),
                "critic": at_level(real.model, Level.SEE).requires_grad_(True),
            }
        )
        self.objective = SelfForcing(
            sampler=student.card.sampler,
            all_steps=all_steps,
            silence_K=audio_codec.silence_K,
            rates=rates,
            guidance={Level.SEE: guidance_see},
            beyond=Level.LISTEN,
            audio_weight=audio_weight,
            video_weight=video_weight,
        )

    def turns(self, batch: DyadBatch, step: int, rng: torch.Generator) -> Iterator[tuple[str, Losses]]:
        teacher, student, critic = (network(self.roles, role) for role in ("teacher", "student", "critic"))
        made = self.objective.generate(student, batch, rng, step=step)
        yield "critic", self.objective.critic_loss(critic, made, rng)
        if step >= self.critic_warmup and step % self.student_every == 0:
            yield "student", self.objective.student_loss(student, teacher, critic, made, rng)

    def export(self, roles: nn.ModuleDict) -> dict[str, Checkpoint]:
        """Level 3.

        Raises:
            RuntimeError: level 2 moved inside it; nothing is exported then.
        """
        student = network(roles, "student")
        if weights_sha256(at_level(student, Level.LISTEN)) != self.level2:
            raise RuntimeError(
                "level 2 changed while its camera branch was trained; this is a bug, nothing is exported"
            )
        return {"level3": Checkpoint(model=student, card=self.card)}
