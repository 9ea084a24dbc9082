"""A camera that comes and goes: what the model is told, and what a seam costs where one was planted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from avatar_lab.context import live_context
from avatar_lab.evaluation.generate import generate_blocks
from avatar_lab.evaluation.outcomes import CONTROL
from avatar_lab.evaluation.toggling import Seams, Toggle, off_stretches
from avatar_lab.layout import Stream
from avatar_lab.level import Level
from tests.evaluation.tiny_studio import SILENCE_K, tiny_checkpoint
from tests.factory import LAYOUT, random_batch

BLOCK = float(LAYOUT.block_seconds)
EVERY = 4 * BLOCK


def test_every_second_stretch_is_off() -> None:
    times = torch.tensor([0.0, 1.9, 2.0, 3.99, 4.0, 6.0])
    assert off_stretches(times, 2.0).tolist() == [False, False, True, True, False, True]


def test_a_toggled_camera_changes_nothing_before_it_goes_and_something_after() -> None:
    checkpoint = tiny_checkpoint(Level.SEE)
    batch = random_batch(num_blocks=12, dtype=torch.float32)
    before = live_context(batch, LAYOUT, Level.SEE, silence_K=SILENCE_K)
    toggle = Toggle(seconds=EVERY)
    after = toggle.edit(before, cast(Any, SimpleNamespace(layout=LAYOUT)))
    assert after.user.sees_BS[0].tolist() == [True] * 4 + [False] * 4 + [True] * 4
    lead, per_block = LAYOUT.lead_tokens(Stream.USER_VIDEO), LAYOUT.latents_per_block
    present = after.user.video_present_BG[0]
    assert present[: lead + 4 * per_block].all()
    assert not present[lead + 4 * per_block : lead + 8 * per_block].any()
    assert torch.equal(after.user.audio_present_BT, before.user.audio_present_BT)
    made = [
        generate_blocks(checkpoint, context, level=Level.SEE, seed=0, conversation_B=batch.sample_B).latents_BFHWC
        for context in (before, after)
    ]
    first = toggle.first_block(cast(Any, None), LAYOUT) * per_block
    assert torch.equal(made[0][:, :first], made[1][:, :first])
    assert not torch.equal(made[0][:, first:], made[1][:, first:])


@pytest.mark.parametrize("jump", [0.0, 3.0])
def test_a_planted_seam_has_its_size(jump: float) -> None:
    per_block = LAYOUT.latents_per_block
    steady = torch.arange(12.0 * per_block)[:, None, None, None].expand(-1, 2, 2, 3).clone()
    seamed = steady.clone()
    seamed[4 * per_block :] += jump  # where the camera goes, and not where it comes back
    arms = {
        CONTROL: SimpleNamespace(latents_FHWC=steady),
        "treated": SimpleNamespace(latents_FHWC=seamed),
        "blind": SimpleNamespace(latents_FHWC=None),
    }
    trial = cast(Any, SimpleNamespace(arms=arms, layout=LAYOUT))
    assert Seams(seconds=EVERY).pair(trial, "treated") == pytest.approx((1.0, 1.0 + jump / 2))
    assert Seams(seconds=EVERY).pair(trial, "blind") is None
    assert Seams(seconds=1000.0).pair(trial, "treated") is None
