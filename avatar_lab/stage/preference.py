"""Stage ``preference``: the student learns to prefer the recording to itself without a user. Label-free, level 2."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import nn

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.losses import Losses
from avatar_lab.objective.preference import Preference as PreferenceLosses
from avatar_lab.stage.start import Setting, levels_in, network, started_from
from avatar_lab.tensors import DyadBatch


class Preference:
    """Student and frozen reference both start as the distilled level 2."""

    name = "preference"
    trained = ("student",)
    followers = ()
    averaged = ("student",)

    def __init__(
        self,
        *,
        layout: Layout,
        audio_codec: AudioCodec,
        video_codec: VideoCodec,
        init: str,
        rates: ConditionRates,
        beta_audio: float,
        beta_video: float,
        audio_weight: float = 1.0,
        video_weight: float = 1.0,
    ) -> None:
        setting = Setting(layout=layout, audio_codec=audio_codec, video_codec=video_codec)
        start = started_from(init, stage=("self_forcing", "long_tune"), level=Level.LISTEN, setting=setting)
        self.roles = nn.ModuleDict({"student": start.model, "reference": deepcopy(start.model)})
        self.card = start.descend(stage=self.name)
        self.objective = PreferenceLosses(
            silence_K=audio_codec.silence_K,
            rates=rates,
            sampler=start.card.sampler,
            beta_audio=beta_audio,
            beta_video=beta_video,
            audio_weight=audio_weight,
            video_weight=video_weight,
        )

    def turns(self, batch: DyadBatch, step: int, rng: torch.Generator) -> Iterator[tuple[str, Losses]]:
        yield "student", self.objective(network(self.roles, "student"), network(self.roles, "reference"), batch, rng)

    def export(self, roles: nn.ModuleDict) -> dict[str, Checkpoint]:
        """Level 2, and level 1 inside it."""
        return levels_in(network(roles, "student"), self.card)
