"""Stage ``teacher``: a joint model of all levels, bidirectional over its own tokens, time-masked towards the user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.model.visibility import Role
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.joint_flow import JointFlow
from avatar_lab.objective.losses import Losses
from avatar_lab.stage.protocol import InitialWeights
from avatar_lab.stage.start import ModelSize, Setting, fresh, network
from avatar_lab.tensors import DyadBatch


class Teacher:
    """Flow training from scratch, or on weights of another video model.

    init_from     those weights; ``None``: every weight is random
    fit_warp_at   step at which the audio warp is fitted to the cross-entropies seen so far, then frozen
    window_blocks blocks of a training window
    num_steps     of the ODE when it is sampled
    """

    name = "teacher"
    trained = ("teacher",)
    followers = ()
    averaged = ("teacher",)

    def __init__(
        self,
        *,
        layout: Layout,
        audio_codec: AudioCodec,
        video_codec: VideoCodec,
        size: ModelSize,
        rates: ConditionRates,
        fit_warp_at: int,
        window_blocks: int,
        num_steps: int = 32,
        init_from: InitialWeights | None = None,
        audio_weight: float = 0.2,
        video_weight: float = 1.0,
        tilt: float = 1.0,
        shared: float = 0.5,
        per_modality: float = 0.25,
        audio_mse: bool = False,
    ) -> None:
        setting = Setting(layout=layout, audio_codec=audio_codec, video_codec=video_codec)
        start = fresh(
            size=size,
            setting=setting,
            level=Level.SEE,
            window_blocks=window_blocks,
            num_steps=num_steps,
        )
        self.start = start if init_from is None else init_from.warm(start)
        self.card = replace(self.start.card, stage=self.name)
        self.roles = nn.ModuleDict({"teacher": self.start.model})
        self.fit_warp_at = fit_warp_at
        self.objective = JointFlow(
            role=Role.BIDIRECTIONAL,
            silence_K=audio_codec.silence_K,
            rates=rates,
            level=Level.SEE,
            audio_weight=audio_weight,
            video_weight=video_weight,
            tilt=tilt,
            shared=shared,
            per_modality=per_modality,
            audio_mse=audio_mse,
        )

    def turns(self, batch: DyadBatch, step: int, rng: torch.Generator) -> Iterator[tuple[str, Losses]]:
        """One update; at ``fit_warp_at`` the audio warp is fitted first."""
        model = self.start.model
        if step == self.fit_warp_at:
            model.warps.fit_audio()
        self.objective.observe_warp = step < self.fit_warp_at
        yield "teacher", self.objective(model, batch, rng)

    def export(self, roles: nn.ModuleDict) -> dict[str, Checkpoint]:
        return {"teacher": Checkpoint(model=network(roles, "teacher"), card=self.card)}
