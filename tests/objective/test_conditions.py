"""What a window is conditioned on where the recording lacks a stream: absent, as in live use, and without loss."""

from __future__ import annotations

from dataclasses import replace

import torch

from avatar_lab.context import OwnAudio, live_context
from avatar_lab.layout import Stream
from avatar_lab.level import Level
from avatar_lab.objective.conditions import Conditioned, ConditionRates, condition
from avatar_lab.tensors import DyadBatch
from tests.factory import LAYOUT, SILENCE_K, random_batch, tiny_model

ALWAYS = ConditionRates(free=0.0, no_lookahead=0.0, no_user_audio=0.0, no_camera=0.0, toggle=0.0, no_anchor=0.0)
OFF_BLOCKS = slice(2, 4)


def _condition(batch: DyadBatch, rates: ConditionRates = ALWAYS) -> Conditioned:
    rng = torch.Generator().manual_seed(0)
    return condition(tiny_model(Level.SEE), batch, rates, SILENCE_K, Level.SEE, rng)


def _without(batch: DyadBatch, stream: Stream, blocks: slice, *, spare: int = 0) -> DyadBatch:
    """The batch with the user's ``stream`` not recorded in ``blocks``, but for the first ``spare`` tokens."""
    name = "user_audio_valid_BT" if stream is Stream.USER_AUDIO else "user_video_valid_BG"
    valid, lead, per_block = getattr(batch, name).clone(), LAYOUT.lead_tokens(stream), LAYOUT.per_block(stream)
    valid[:, lead + blocks.start * per_block + spare : lead + blocks.stop * per_block] = False
    return replace(batch, **{name: valid})


def test_a_camera_that_was_off_is_absent() -> None:
    batch = random_batch()
    user = _condition(_without(batch, Stream.USER_VIDEO, OFF_BLOCKS)).context.user
    assert user.sees_BS[0].tolist() == [True, True, False, False, True, True]
    assert user.hears_BS.all()
    assert (~user.video_present_BG).sum(1).tolist() == [2 * LAYOUT.latents_per_block] * 2
    partly = _condition(_without(batch, Stream.USER_VIDEO, OFF_BLOCKS, spare=1)).context.user
    assert partly.sees_BS[0].tolist() == [True, True, True, False, True, True]


def test_nobody_reacts_to_a_microphone_that_was_off() -> None:
    batch = random_batch()
    per_block = LAYOUT.audio_per_block
    whole, off = _condition(batch), _condition(_without(batch, Stream.USER_AUDIO, OFF_BLOCKS))
    assert off.context.user.hears_BS[0].tolist() == [True, True, False, False, True, True]
    tokens = slice(OFF_BLOCKS.start * per_block, OFF_BLOCKS.stop * per_block)
    state_BA, silent = off.context.plan.state_BE, int(OwnAudio.SILENCE)
    assert set(state_BA[:, tokens][~batch.script_BE[:, tokens]].tolist()) == {silent}
    outside_BA = state_BA.clone()
    outside_BA[:, tokens] = 0
    assert not (outside_BA == silent).any()
    assert not off.audio_loss_BA[:, tokens].any()
    replaced_BA = batch.sound_BE[:, tokens] & ~batch.script_BE[:, tokens]
    assert replaced_BA.any()
    lost = whole.video_loss_BF & ~off.video_loss_BF
    first, per_latent = OFF_BLOCKS.start * LAYOUT.latents_per_block, per_block // LAYOUT.latents_per_block
    expected_BF = replaced_BA.unflatten(1, (-1, per_latent)).any(-1)
    assert torch.equal(lost[:, first : first + expected_BF.shape[1]], expected_BF)
    assert lost.sum() == expected_BF.sum()
    free = ConditionRates(free=1.0, no_user_audio=0.0)
    never = _condition(_without(batch, Stream.USER_AUDIO, slice(0, 6)), free)
    assert torch.equal(never.context.plan.state_BE == OwnAudio.SPEECH, batch.script_BE)


def test_own_sound_that_is_not_known_takes_no_part_in_the_loss() -> None:
    batch = random_batch()
    valid_BE = batch.audio_valid_BE.clone()
    valid_BE[:, 5] = False  # the second token of the third latent
    whole, off = _condition(batch), _condition(replace(batch, audio_valid_BE=valid_BE))
    assert not off.audio_loss_BA[:, 5].any()
    assert torch.equal(off.audio_loss_BA[:, :5], whole.audio_loss_BA[:, :5])
    assert off.video_loss_BF[0].tolist() == [latent != 2 for latent in range(batch.video_BFHWC.shape[1])]


def test_evaluation_takes_the_same_streams_for_absent() -> None:
    batch = _without(_without(random_batch(), Stream.USER_VIDEO, slice(0, 1)), Stream.USER_AUDIO, slice(5, 6))
    context = live_context(batch, LAYOUT, Level.SEE, silence_K=SILENCE_K)
    assert context.user.sees_BS[0].tolist() == [False, True, True, True, True, True]
    assert context.user.hears_BS[0].tolist() == [True] * 5 + [False]
    outside_BE = ~batch.script_BE[:, 5 * LAYOUT.audio_per_block :]
    assert (context.plan.state_BE[:, 5 * LAYOUT.audio_per_block :][outside_BE] == OwnAudio.SILENCE).all()
