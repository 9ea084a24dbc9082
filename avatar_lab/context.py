"""What the network is told besides the noisy tokens: own-audio plan, user streams with presence, anchor.

Own audio (design section 4): each of the avatar's audio tokens is ``SPEECH`` (script; observed at noise level 0, no
loss), ``SILENCE`` (observed) or ``OPEN`` (generated). A talking avatar is silent outside its script; one that hears its
user is free to react there. Shape legend: ``tensors.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor

from avatar_lab.layout import Layout, Stream
from avatar_lab.level import Level
from avatar_lab.tensors import Anchor, DyadBatch, TensorRecord


class OwnAudio(IntEnum):
    """State of one of the avatar's own audio tokens."""

    OPEN = 0
    SPEECH = 1
    SILENCE = 2


@dataclass(frozen=True, kw_only=True)
class AudioPlan(TensorRecord):
    """The avatar's own audio as far as it is known ahead: window plus look-ahead."""

    tokens_BEK: Tensor
    """Tokens where ``state`` is SPEECH or SILENCE; arbitrary where OPEN."""
    state_BE: Tensor
    """int64 ``OwnAudio``."""
    lookahead_B: Tensor
    """int64: how many tokens beyond the end of a block that block may see, 0 .. ``layout.script_lookahead``."""

    def fill(self, tokens_BAK: Tensor) -> Tensor:
        """Window tokens with the planned ones in place of ``tokens_BAK`` wherever the plan is not OPEN."""
        num = tokens_BAK.shape[1]
        observed_BA1 = (self.state_BE[:, :num] != OwnAudio.OPEN)[..., None]
        return torch.where(observed_BA1, self.tokens_BEK[:, :num], tokens_BAK)


def plan_own_audio(
    batch: DyadBatch, *, silence_K: Tensor, open_BE: Tensor, scripted_B: Tensor, lookahead_B: Tensor
) -> AudioPlan:
    """Plan from a recording: script as speech, the rest OPEN where ``open_BE`` allows it, else SILENCE.

    ``scripted_B`` False makes a clip free: no script is given, and its speech is the model's own to produce.
    """
    speech_BE = batch.script_BE & scripted_B[:, None]
    outside_BE = torch.where(open_BE, int(OwnAudio.OPEN), int(OwnAudio.SILENCE))
    state_BE = torch.where(speech_BE, int(OwnAudio.SPEECH), outside_BE)
    tokens_BEK = torch.where(speech_BE[..., None], batch.audio_BEK, silence_K)
    return AudioPlan(tokens_BEK=tokens_BEK, state_BE=state_BE, lookahead_B=lookahead_B)


def open_where_heard(hears_BS: Tensor, layout: Layout) -> Tensor:
    """(B, E) bool: audio outside the script is the model's own where it hears the user; ahead as in the last block."""
    open_BA = hears_BS.repeat_interleave(layout.audio_per_block, dim=1)
    return torch.cat([open_BA, hears_BS[:, -1:].expand(-1, layout.script_lookahead)], dim=1)


@dataclass(frozen=True, kw_only=True)
class UserStreams(TensorRecord):
    """What may be perceived of the user. A stream that is absent has no tokens at all; it is never a black picture."""

    audio_BTK: Tensor
    audio_present_BT: Tensor
    """bool per token; a token that was absent stays unseen for ever."""
    hears_BS: Tensor
    """bool per block: the microphone is on now. Off skips the listen branch, whatever was heard before."""
    video_BGU: Tensor
    video_present_BG: Tensor
    sees_BS: Tensor


@dataclass(frozen=True, kw_only=True)
class Context(TensorRecord):
    """Everything a window is conditioned on."""

    plan: AudioPlan
    user: UserStreams
    anchor: Anchor

    @property
    def num_blocks(self) -> int:
        return self.user.hears_BS.shape[1]

    def unscripted(self) -> Context:
        """The same with nothing of the own audio planned: all of it is the model's own."""
        plan = self.plan
        nothing = torch.zeros_like(plan.lookahead_B)
        return replace(self, plan=replace(plan, state_BE=plan.state_BE * 0 + int(OwnAudio.OPEN), lookahead_B=nothing))


def recorded_blocks(batch: DyadBatch, layout: Layout, stream: Stream) -> Tensor:
    """(B, S) bool: the recording has the user's ``stream`` in that block, at least in part. Where a camera or a
    microphone was off, the stream is absent as it is in live use."""
    valid = batch.user_audio_valid_BT if stream is Stream.USER_AUDIO else batch.user_video_valid_BG
    return valid[:, layout.lead_tokens(stream) :].unflatten(1, (-1, layout.per_block(stream))).any(dim=-1)


def perceive(batch: DyadBatch, layout: Layout, *, hears_BS: Tensor, sees_BS: Tensor) -> UserStreams:
    """User streams of a batch, with tokens marked absent in blocks where the stream is off, which it is also where the
    recording lacks it.

    The lead takes the presence of the first block: a window that starts with the camera off has never seen the user.
    """
    present = []
    for stream, valid, on_BS in (
        (Stream.USER_AUDIO, batch.user_audio_valid_BT, hears_BS),
        (Stream.USER_VIDEO, batch.user_video_valid_BG, sees_BS),
    ):
        lead = layout.lead_tokens(stream)
        on_tokens = on_BS.repeat_interleave(layout.per_block(stream), dim=1)
        present.append(valid & torch.cat([on_BS[:, :1].expand(-1, lead), on_tokens], dim=1))
    return UserStreams(
        audio_BTK=batch.user_audio_BTK,
        audio_present_BT=present[0],
        hears_BS=hears_BS & recorded_blocks(batch, layout, Stream.USER_AUDIO),
        video_BGU=batch.user_video_BGU,
        video_present_BG=present[1],
        sees_BS=sees_BS & recorded_blocks(batch, layout, Stream.USER_VIDEO),
    )


def live_context(
    batch: DyadBatch, layout: Layout, level: Level, *, silence_K: Tensor, scripted: bool = True
) -> Context:
    """Context of use at ``level`` with every stream of that level present: evaluation and deployment.

    scripted  the avatar's turns are given; else it decides itself when to speak, which needs a level that listens
    """
    num_blocks = batch.video_BFHWC.shape[1] // layout.latents_per_block
    ones_BS = torch.ones(batch.size, num_blocks, dtype=torch.bool, device=batch.audio_BEK.device)
    ones_B = ones_BS[:, 0]
    user = perceive(batch, layout, hears_BS=ones_BS & level.listens, sees_BS=ones_BS & level.sees)
    plan = plan_own_audio(
        batch,
        silence_K=silence_K,
        open_BE=open_where_heard(user.hears_BS, layout),
        scripted_B=ones_B & scripted,
        lookahead_B=ones_B * layout.script_lookahead,
    )
    return Context(plan=plan, user=user, anchor=batch.anchor)


@dataclass(frozen=True, kw_only=True)
class BlockInput(TensorRecord):
    """What arrives for one block of a running conversation; the first block brings the lead along."""

    plan: AudioPlan
    """This block's own audio and its look-ahead (E = audio per block + L)."""
    user: UserStreams
    """Tokens that became visible since the previous block; ``hears``/``sees`` have one column."""


def block_inputs(context: Context, layout: Layout) -> Iterator[BlockInput]:
    """Cut a window into the inputs of its blocks, each user token in the block that is the first to see it."""
    per_block, ahead = layout.audio_per_block, layout.script_lookahead
    user, plan = context.user, context.plan
    for block in range(context.num_blocks):
        own = slice(block * per_block, (block + 1) * per_block + ahead)
        spans = {}
        for stream in Stream:
            lead = layout.lead_tokens(stream)
            start = lead + layout.visible_end(stream, block - 1) if block else 0
            spans[stream] = slice(start, lead + layout.visible_end(stream, block))
        hear, see = spans[Stream.USER_AUDIO], spans[Stream.USER_VIDEO]
        yield BlockInput(
            plan=replace(plan, tokens_BEK=plan.tokens_BEK[:, own], state_BE=plan.state_BE[:, own]),
            user=UserStreams(
                audio_BTK=user.audio_BTK[:, hear],
                audio_present_BT=user.audio_present_BT[:, hear],
                hears_BS=user.hears_BS[:, block : block + 1],
                video_BGU=user.video_BGU[:, see],
                video_present_BG=user.video_present_BG[:, see],
                sees_BS=user.sees_BS[:, block : block + 1],
            ),
        )
