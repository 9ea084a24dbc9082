"""Guidance between levels, in one convention: ``uncond + scale * (cond - uncond)``, on clean estimates.

The lower level is the unconditional model of the one above it, so guidance towards the user's audio is LISTEN against
TALK and towards the camera SEE against LISTEN (Ho and Salimans 2022, arXiv:2207.12598). Logits are combined with the
same weights. A scale of 1 is no guidance.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from avatar_lab.diffusion.sampler import Estimate
from avatar_lab.level import Level
from avatar_lab.tensors import AVState


def levels_needed(level: Level, scales: Mapping[Level, float]) -> list[Level]:
    """Levels to evaluate for guided generation at ``level``, lowest first; only ``level`` itself without guidance."""
    active = [lv for lv in Level if Level.TALK < lv <= level and scales.get(lv, 1.0) != 1.0]
    return sorted({level, *active, *(Level(lv - 1) for lv in active)})


def combine(estimates: Mapping[Level, Estimate], scales: Mapping[Level, float]) -> Estimate:
    """Guided estimate from the estimates of ``levels_needed``."""
    order = sorted(estimates)
    total = estimates[order[0]]
    for lower, upper in pairwise(order):
        scale = scales.get(upper, 1.0) if upper - lower == 1 else 1.0
        low, high = estimates[lower], estimates[upper]
        total = Estimate(
            clean=AVState(
                audio_BAD=total.clean.audio_BAD + scale * (high.clean.audio_BAD - low.clean.audio_BAD),
                video_BFHWC=total.clean.video_BFHWC + scale * (high.clean.video_BFHWC - low.clean.video_BFHWC),
            ),
            logits_BAKV=total.logits_BAKV + scale * (high.logits_BAKV - low.logits_BAKV),
        )
    return total
