"""Parametrisations of video: what a head is given and gives are inverse, and the anchored one knows the anchor."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatar_lab.checkpoint import VIDEO_HEADS
from avatar_lab.model.video_head import MOTION, AnchoredHead, VideoHead
from avatar_lab.tensors import Anchor
from tests.factory import random_batch

BATCH = random_batch()
ANCHOR = replace(BATCH.anchor, present_B=torch.tensor([True, False]))
CLEAN = BATCH.video_BFHWC
NOISE = torch.randn(CLEAN.shape, generator=torch.Generator().manual_seed(1), dtype=CLEAN.dtype)
SIGMA = torch.linspace(0.05, 1, CLEAN.shape[1], dtype=CLEAN.dtype)[None, :, None, None, None]


def _noisy(clean: Tensor) -> Tensor:
    return (1 - SIGMA) * clean + SIGMA * NOISE


def _right_output(name: str, anchor: Anchor) -> Tensor:
    """What the trunk has to say for the velocity to be exact."""
    if name == "VelocityHead":
        return NOISE - CLEAN
    if name == "CleanHead":
        return CLEAN
    present = anchor.present_B[:, None, None, None, None]
    return torch.where(present, (CLEAN - anchor.picture_BHWC[:, None]) / MOTION, CLEAN)


@pytest.mark.parametrize("name", sorted(VIDEO_HEADS))
def test_the_right_output_gives_the_velocity_of_the_path(name: str) -> None:
    head: VideoHead = VIDEO_HEADS[name]()
    velocity = head.velocity(_right_output(name, ANCHOR), _noisy(CLEAN), SIGMA, ANCHOR)
    assert torch.allclose(velocity, NOISE - CLEAN, atol=1e-9)


def test_the_anchored_head_is_blind_to_who_the_avatar_is() -> None:
    """Another person who moves alike: what is shown is the same, and what comes out moves with the anchor."""
    head, other = AnchoredHead(), torch.tensor(3.0)
    moved = replace(ANCHOR, picture_BHWC=ANCHOR.picture_BHWC + other)
    here, there = (
        head.shown(_noisy(clean), SIGMA, anchor) for clean, anchor in ((CLEAN, ANCHOR), (CLEAN + other, moved))
    )
    assert torch.allclose(here[0], there[0], atol=1e-9)
    assert not torch.allclose(here[1], there[1], atol=1e-2)  # its anchor was dropped: the latent itself is shown
    output = torch.randn(CLEAN.shape, generator=torch.Generator().manual_seed(2), dtype=CLEAN.dtype)
    finished = [
        noisy - SIGMA * head.velocity(output, noisy, SIGMA, anchor)
        for noisy, anchor in ((_noisy(CLEAN), ANCHOR), (_noisy(CLEAN), moved))
    ]
    assert torch.allclose(finished[1][0] - finished[0][0], other.to(CLEAN.dtype), atol=1e-9)
    assert torch.equal(finished[1][1], finished[0][1])


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.5, 1.0])
def test_the_anchored_head_shows_unit_variance_at_every_noise_level(sigma: float) -> None:
    rng = torch.Generator().manual_seed(3)
    shape = (2, 200, 4, 4, 8)
    picture = torch.randn(2, *shape[2:], generator=rng)
    still = torch.where(ANCHOR.present_B[:, None, None, None], picture, 0)[:, None]
    deviation = torch.tensor([MOTION, 1.0]).reshape(2, 1, 1, 1, 1)
    clean = still + deviation * torch.randn(shape, generator=rng)
    level = torch.tensor(sigma)
    noisy = (1 - level) * clean + level * torch.randn(shape, generator=rng)
    shown = AnchoredHead().shown(noisy, level, replace(ANCHOR, picture_BHWC=picture))
    assert shown.flatten(1).std(dim=1) == pytest.approx([1.0, 1.0], abs=0.02)
