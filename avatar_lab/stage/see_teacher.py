"""Stage ``see_teacher``: the camera branch learns by flow, on the frozen autoregressive model."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.checkpoint import Checkpoint
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates
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


class SeeTeacher:
    """Flow objective of the branch alone; nothing of it depends on the student, so both can be trained at once.

    init  the autoregressive model
    tilt  above 1, more training at high noise
    """

    name = "see_teacher"
    trained = ("teacher",)
    followers = ()
    averaged = ("teacher",)

    def __init__(
        self,
        *,
        layout: Layout,
        audio_codec: AudioCodec,
        video_codec: VideoCodec,
        init: str,
        rates: ConditionRates,
        audio_weight: float = 0.2,
        video_weight: float = 1.0,
        tilt: float = 1.0,
    ) -> None:
        setting = Setting(layout=layout, audio_codec=audio_codec, video_codec=video_codec)
        start = started_from(init, stage="autoregressive", level=Level.SEE, setting=setting)
        self.roles = nn.ModuleDict({"teacher": train_branch_only(start.model)})
        self.card = start.descend(stage=self.name)
        self.objective = JointFlow(
            role=Role.CAUSAL,
            level=Level.SEE,
            silence_K=audio_codec.silence_K,
            rates=rates,
            audio_weight=audio_weight,
            video_weight=video_weight,
            tilt=tilt,
        )

    def turns(self, batch: DyadBatch, step: int, rng: torch.Generator) -> Iterator[tuple[str, Losses]]:
        yield "teacher", self.objective(network(self.roles, "teacher"), batch, rng)

    def export(self, roles: nn.ModuleDict) -> dict[str, Checkpoint]:
        """An autoregressive level 3."""
        return {"see_teacher": Checkpoint(model=network(roles, "teacher"), card=self.card)}
