"""Stage ``see``: level 3 as a pure addition to a frozen level 2.

First the camera branch learns by the flow objective on the frozen autoregressive model; then it is copied onto the
frozen student; then, if asked for, it alone is distilled on the student's rollouts, with the camera-aware
autoregressive model as real score. Level 2's weights do not move, which the export checks by digest.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.checkpoint import Checkpoint, at_level, weights_sha256
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.dmd import SelfForcing
from avatar_lab.objective.joint_flow import JointFlow
from avatar_lab.objective.losses import Losses
from avatar_lab.stage.start import Setting, network, started_from
from avatar_lab.tensors import DyadBatch


def branch_state(model: AvatarModel) -> dict[str, Tensor]:
    """Tensors that level 3 has and level 2 has not."""
    return {name: value for name, value in model.state_dict().items() if ".see" in name}


def train_branch_only(model: AvatarModel) -> AvatarModel:
    """Freeze all but the camera branch."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".see" in name)
    return model


STUDENTS = ("self_forcing", "long_tune", "preference")
"""Stages that make a few-step level 2."""


class See:
    """Flow on the teacher's branch for ``flow_steps``, then distribution matching on the student's.

    init     the level-2 student; teacher  the autoregressive model it came from
    """

    name = "see"
    trained = ("teacher", "student", "critic")
    followers = ()
    averaged = ("teacher", "student")

    def __init__(
        self,
        *,
        layout: Layout,
        audio_codec: AudioCodec,
        video_codec: VideoCodec,
        init: str,
        teacher: str,
        flow_steps: int,
        student_every: int,
        rates: ConditionRates,
        audio_weight: float = 0.2,
        video_weight: float = 1.0,
        tilt: float = 1.0,
    ) -> None:
        setting = Setting(layout=layout, audio_codec=audio_codec, video_codec=video_codec)
        student = started_from(init, stage=STUDENTS, level=Level.SEE, setting=setting)
        real = started_from(teacher, stage="autoregressive", level=Level.SEE, setting=setting)
        self.level2 = weights_sha256(at_level(student.model, Level.LISTEN))
        self.card = student.descend(stage=self.name, taught_by=real)
        self.flow_steps, self.student_every = flow_steps, student_every
        self.roles = nn.ModuleDict(
            {
                "teacher": train_branch_only(real.model),
                "student": train_branch_only(student.model),
                "critic": train_branch_only(at_level(real.model, Level.SEE)),
            }
        )
        self.flow = JointFlow(
            role=Role.CAUSAL,
            level=Level.SEE,
            silence_K=audio_codec.silence_K,
            rates=rates,
            audio_weight=audio_weight,
            video_weight=video_weight,
            tilt=tilt,
        )
        self.distil = SelfForcing(
            sampler=student.card.sampler,
            silence_K=audio_codec.silence_K,
            rates=rates,
            audio_weight=audio_weight,
            video_weight=video_weight,
        )

    def turns(self, batch: DyadBatch, step: int, rng: torch.Generator) -> Iterator[tuple[str, Losses]]:
        teacher, student, critic = (network(self.roles, role) for role in ("teacher", "student", "critic"))
        if step < self.flow_steps:
            yield "teacher", self.flow(teacher, batch, rng)
            return
        if step == self.flow_steps:
            for model in (student, critic):
                model.load_state_dict(branch_state(teacher), strict=False)
        made = self.distil.generate(student, batch, rng, step=step)
        yield "critic", self.distil.critic_loss(critic, made, rng)
        if step % self.student_every == 0:
            yield "student", self.distil.student_loss(student, teacher, critic, made, rng)

    def export(self, roles: nn.ModuleDict) -> dict[str, Checkpoint]:
        """Level 3; before distillation begins, with the branch as the teacher has it now.

        Raises:
            RuntimeError: level 2 moved inside it; nothing is exported then.
        """
        student = network(roles, "student")
        if not any(layer.see.gate_D.any() for layer in student.net.stack if layer.see is not None):
            student = at_level(student, Level.SEE)
            student.load_state_dict(branch_state(network(roles, "teacher")), strict=False)
        if weights_sha256(at_level(student, Level.LISTEN)) != self.level2:
            raise RuntimeError(
                "level 2 changed while its camera branch was trained; this is a bug, nothing is exported"
            )
        return {"level3": Checkpoint(model=student, card=self.card)}
