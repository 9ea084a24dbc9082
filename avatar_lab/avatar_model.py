"""A network with its warps: what every role of every stage is, and what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from avatar_lab.codebook import Codebook
from avatar_lab.context import Context
from avatar_lab.diffusion.flow import clean_estimate
from avatar_lab.diffusion.guidance import combine, levels_needed
from avatar_lab.diffusion.sampler import Estimate
from avatar_lab.diffusion.warp import Warps
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.model.dit import BlockMemory, JointDiT
from avatar_lab.model.visibility import Role
from avatar_lab.tensors import AVState, NoiseLevels, Prediction


class AvatarModel(nn.Module):
    """Network plus noise warps. Two models of one training graph share their warps' values."""

    def __init__(self, *, net: JointDiT, warps: Warps) -> None:
        super().__init__()
        self.net, self.warps = net, warps

    @property
    def layout(self) -> Layout:
        return self.net.layout

    @property
    def level(self) -> Level:
        return self.net.level

    @property
    def codebook(self) -> Codebook:
        return self.net.codebook

    @property
    def device(self) -> torch.device:
        return self.codebook.tables_KVD.device

    def estimate(self, noisy: AVState, levels: NoiseLevels, prediction: Prediction) -> Estimate:
        """Clean estimate and logits of a prediction."""
        clean = clean_estimate(self.codebook, noisy, levels, prediction)
        return Estimate(clean=clean, logits_BAKV=prediction.logits_BAKV)

    def estimate_window(
        self,
        noisy: AVState,
        levels: NoiseLevels,
        context: Context,
        *,
        role: Role,
        history: AVState | None = None,
        level: Level | None = None,
    ) -> Estimate:
        prediction = self.net(noisy, levels, context, role=role, history=history, level=level)
        return self.estimate(noisy, levels, prediction)

    def guided_window(
        self,
        noisy: AVState,
        levels: NoiseLevels,
        context: Context,
        *,
        role: Role,
        history: AVState | None,
        guidance: Mapping[Level, float],
    ) -> Estimate:
        """``estimate_window`` with guidance between levels; without scales it is exactly that."""
        estimates = {
            level: self.estimate_window(noisy, levels, context, role=role, history=history, level=level)
            for level in levels_needed(self.level, guidance)
        }
        return combine(estimates, guidance)

    def estimate_block(self, noisy: AVState, levels: NoiseLevels, memory: BlockMemory) -> Estimate:
        return self.estimate(noisy, levels, self.net.predict_block(noisy, levels, memory))
