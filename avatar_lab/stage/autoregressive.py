"""Stage ``autoregressive``: level 2, block-causal, by teacher forcing on [clean history | noisy block].

The many-step causal model: start of the few-step student and real score of its distillation.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from avatar_lab.checkpoint import BIDIRECTIONAL_STAGE, Checkpoint
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.joint_flow import JointFlow
from avatar_lab.objective.losses import Losses
from avatar_lab.stage.start import Setting, network, started_from
from avatar_lab.tensors import DyadBatch


class Autoregressive:
    """Flow training from the teacher's trunk and listen branch.

    init          the teacher's artefact, whose camera branch is left behind, so that level 3 can be a pure addition
                  later; or an autoregressive model, to go on training it
    other_blocks  its blocks may have had another length than this run's layout says
    """

    name = "autoregressive"
    trained = ("model",)
    followers = ()
    averaged = ("model",)

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
        shared: float = 0.5,
        per_modality: float = 0.25,
        audio_mse: bool = False,
        other_blocks: bool = False,
    ) -> None:
        setting = Setting(layout=layout, audio_codec=audio_codec, video_codec=video_codec)
        self.parent = started_from(
            init,
            stage=(BIDIRECTIONAL_STAGE, self.name),
            level=Level.LISTEN,
            setting=setting,
            other_blocks=other_blocks,
        )
        self.roles = nn.ModuleDict({"model": self.parent.model})
        self.card = self.parent.descend(stage=self.name)
        self.objective = JointFlow(
            role=Role.CAUSAL,
            silence_K=audio_codec.silence_K,
            rates=rates,
            level=Level.LISTEN,
            audio_weight=audio_weight,
            video_weight=video_weight,
            tilt=tilt,
            shared=shared,
            per_modality=per_modality,
            audio_mse=audio_mse,
        )

    def turns(self, batch: DyadBatch, step: int, rng: torch.Generator) -> Iterator[tuple[str, Losses]]:
        yield "model", self.objective(self.parent.model, batch, rng)

    def export(self, roles: nn.ModuleDict) -> dict[str, Checkpoint]:
        return {"autoregressive": Checkpoint(model=network(roles, "model"), card=self.card)}
