"""Stage ``initialise``: the few-step start of the student, by regression onto the autoregressive model's ODE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.layout import Layout
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.losses import Losses
from avatar_lab.objective.trajectory import CausalTrajectory, Trajectories
from avatar_lab.stage.start import Setting, few_step_start, network
from avatar_lab.tensors import DyadBatch


class Initialise:
    """Student and frozen teacher both start as the autoregressive model.

    steps     the student's, in u; the last one is lowered if its audio noise would be too high to read tokens from
    snap      whether it remembers its own audio as tokens, here and ever after
    renoise   deviation of what is fresh in the noise after each of its steps (``Sampler``)
    substeps  solver steps of the teacher between two of them
    """

    name = "initialise"
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
        steps: list[float],
        substeps: int,
        rates: ConditionRates,
        snap: bool = True,
        renoise: float = 1.0,
        audio_weight: float = 0.2,
        video_weight: float = 1.0,
    ) -> None:
        setting = Setting(layout=layout, audio_codec=audio_codec, video_codec=video_codec)
        start = few_step_start(init, steps=steps, snap=snap, renoise=renoise, stage=self.name, setting=setting)
        self.roles = nn.ModuleDict({"student": start.model, "teacher": deepcopy(start.model)})
        self.card = start.card
        self.objective = CausalTrajectory(
            silence_K=audio_codec.silence_K,
            rates=rates,
            sampler=start.card.sampler,
            substeps=substeps,
            audio_weight=audio_weight,
            video_weight=video_weight,
        )

    def turns(
        self, batch: DyadBatch | Mapping[str, Tensor], step: int, rng: torch.Generator
    ) -> Iterator[tuple[str, Losses]]:
        """``batch`` is of recordings, or trajectories that were stored (``make_pairs``)."""
        student, teacher = network(self.roles, "student"), network(self.roles, "teacher")
        if isinstance(batch, DyadBatch):
            yield "student", self.objective(student, teacher, batch, rng)
        else:
            yield "student", self.objective.regress(student, Trajectories.from_flat(batch), rng)

    def export(self, roles: nn.ModuleDict) -> dict[str, Checkpoint]:
        return {"initialise": Checkpoint(model=network(roles, "student"), card=self.card)}
