"""An injected event through real codecs: both arms agree to the bit before it, and differ in it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import torch

from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.evaluation.injections import Inject, again, encoded_user, injection_unit
from avatar_lab.evaluation.interventions import EXPERIMENTS
from avatar_lab.evaluation.studio import Studio
from avatar_lab.evaluation.treatments import Scene, token_at
from avatar_lab.evaluation.units import Unit
from avatar_lab.layout import Stream
from avatar_lab.tensors import DyadBatch
from tests.evaluation.simulated import CALIBRATED, LAYOUT, QUICKSTART, conversations, references


def unit_of(name: str, arm: str, world: str = QUICKSTART) -> tuple[Inject, Unit]:
    experiment = EXPERIMENTS[name]
    treatment = experiment.arms[arm]
    assert isinstance(treatment, Inject)
    assert experiment.occasion is not None
    known = references(6, world)
    for conversation in conversations(6, world):
        unit = injection_unit(
            conversation, known, occasion=experiment.occasion, arms=[treatment], layout=LAYOUT, seed=0
        )
        if unit is not None:
            return treatment, unit
    raise AssertionError("no moment in six dyads")


@pytest.mark.ci
@pytest.mark.parametrize(
    ("name", "arm", "world"),
    [
        ("A4", "treated", QUICKSTART),
        ("V5", "smile", QUICKSTART),
        ("A5_blink", "treated", QUICKSTART),
        ("A4_laugh", "treated", CALIBRATED),
        ("V5_hand", "treated", CALIBRATED),
    ],
)
def test_arms_agree_before_the_event_and_differ_in_it(name: str, arm: str, world: str) -> None:
    treatment, unit = unit_of(name, arm, world)
    studio = SimpleNamespace(
        references=references(6, world), audio_codec=TinyAudio.load(), video_codec=TinyVideo.load(), layout=LAYOUT
    )
    scene = Scene(studio=cast(Studio, studio), units=[unit], partners=[unit], batch=cast(DyadBatch, None))
    dialogue = studio.references.dialogue(unit.recorded.interaction)
    done = again(dialogue, treatment.rendered(unit))
    with torch.inference_mode():
        before, after = (encoded_user(d, unit, treatment.stream, scene) for d in (dialogue, done))
    assert before.shape == after.shape
    lead = len(before) - unit.conversation.num_blocks * LAYOUT.per_block(treatment.stream)
    changed = [int(i) for i in torch.nonzero((before != after).flatten(1).any(1))[:, 0]]
    assert changed
    assert changed[0] >= lead + token_at(LAYOUT, treatment.stream, treatment.begins(unit))
    assert changed[0] <= lead + token_at(LAYOUT, treatment.stream, unit.time) + 3


def test_moments_lie_where_they_should() -> None:
    _, unit = unit_of("A4", "treated")
    here = unit.conversation
    turns = [(e.start, e.end) for e in here.events if e.type == "turn" and e.side == here.user]
    assert any(start < unit.time < end for start, end in turns)
    assert unit.begin + here.seconds <= unit.recorded.seconds
    assert LAYOUT.num_blocks(unit.time) == LAYOUT.history_blocks
    assert here.num_blocks * float(LAYOUT.block_seconds) - unit.time >= 3.2
    assert unit.window.start_block * float(LAYOUT.block_seconds) == pytest.approx(unit.begin)
    assert Stream.USER_AUDIO is EXPERIMENTS["A4"].arms["treated"].stream
