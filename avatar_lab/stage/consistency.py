"""Stage ``initialise`` by consistency: the few-step start of the student, pulled to what its own slow copy says."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import nn

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.layout import Layout
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.consistency import CausalConsistency
from avatar_lab.objective.losses import Losses
from avatar_lab.stage.protocol import Follower
from avatar_lab.stage.start import Setting, few_step_start, network
from avatar_lab.tensors import DyadBatch


class InitialiseByConsistency:
    """Student, its slow copy and the frozen teacher all start as the autoregressive model.

    steps       the student's, in u; the last one is lowered if its audio noise would be too high to read tokens from
    snap        whether it remembers its own audio as tokens, here and ever after
    renoise     deviation of what is fresh in the noise after each of its steps (``Sampler``)
    intervals   of the teacher's ODE between noise and data
    slow_decay  of the copy, per step

    Raises:
        ValueError: ``slow_decay`` is not in [0, 1).
    """

    name = "initialise"
    trained = ("student",)
    averaged = ("student",)

    def __init__(
        self,
        *,
        layout: Layout,
        audio_codec: AudioCodec,
        video_codec: VideoCodec,
        init: str,
        steps: list[float],
        rates: ConditionRates,
        snap: bool = True,
        renoise: float = 1.0,
        intervals: int = 10,
        slow_decay: float = 0.9,
        audio_weight: float = 0.2,
        video_weight: float = 1.0,
    ) -> None:
        setting = Setting(layout=layout, audio_codec=audio_codec, video_codec=video_codec)
        start = few_step_start(init, steps=steps, snap=snap, renoise=renoise, stage=self.name, setting=setting)
        copies = {"slow": deepcopy(start.model), "teacher": deepcopy(start.model)}
        self.roles = nn.ModuleDict({"student": start.model, **copies})
        self.card = start.card
        self.followers = (Follower(role="slow", leader="student", decay=slow_decay),)
        self.objective = CausalConsistency(
            silence_K=audio_codec.silence_K,
            rates=rates,
            sampler=start.card.sampler,
            intervals=intervals,
            audio_weight=audio_weight,
            video_weight=video_weight,
        )

    def turns(self, batch: DyadBatch, step: int, rng: torch.Generator) -> Iterator[tuple[str, Losses]]:
        student, slow, teacher = (network(self.roles, role) for role in ("student", "slow", "teacher"))
        yield "student", self.objective(student, slow, teacher, batch, rng)

    def export(self, roles: nn.ModuleDict) -> dict[str, Checkpoint]:
        return {"initialise": Checkpoint(model=network(roles, "student"), card=self.card)}
