"""What is done to a user's stream in codec space, from one moment on: an edit of the context of generation.

A treatment changes nothing before its moment, and leaves noise, script and every other stream as they were, so that two
arms differ in one thing only. Shape legend: ``tensors.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from avatar_lab.context import Context, UserStreams
from avatar_lab.evaluation.studio import Studio
from avatar_lab.evaluation.units import Unit
from avatar_lab.layout import Layout, Stream
from avatar_lab.tensors import DyadBatch


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The units of one batch, their recordings, and the tools of the studio.

    partners  for each unit, one of another dyad
    """

    studio: Studio
    units: Sequence[Unit]
    partners: Sequence[Unit]
    batch: DyadBatch

    @property
    def layout(self) -> Layout:
        return self.studio.layout

    def token(self, unit: Unit, stream: Stream) -> int:
        """Place of the user token that contains the unit's moment, the lead included."""
        return self.layout.lead_tokens(stream) + token_at(self.layout, stream, unit.time)


class Treatment(Protocol):
    """One arm. ``stream``: what of the user is changed; ``None``: nothing of the user."""

    @property
    def stream(self) -> Stream | None: ...

    def baseline(self, context: Context, scene: Scene) -> Context:
        """What its control arm is told; differs from the recording where both arms need the same new encoding."""
        ...

    def edit(self, context: Context, scene: Scene) -> Context:
        """What the treated arm is told instead."""
        ...

    def first_block(self, unit: Unit, layout: Layout) -> int:
        """First block whose output may differ."""
        ...


def token_at(layout: Layout, stream: Stream, seconds: float) -> int:
    """Index of the user token that contains a time; times on the grid belong to the token that starts there."""
    return int(seconds / float(layout.grid(stream)) + 1e-6)


def first_to_see(layout: Layout, stream: Stream, token: int) -> int:
    """First block that may see user token ``token``."""
    return next(block for block in range(10**9) if layout.visible_end(stream, block) > token)


@dataclass(frozen=True, kw_only=True)
class StreamEdit(ABC):
    """Base of treatments that replace tokens of one user stream."""

    stream: Stream

    def baseline(self, context: Context, scene: Scene) -> Context:
        return context

    def edit(self, context: Context, scene: Scene) -> Context:
        tokens = values_of(context.user, self.stream).clone()
        for row, unit in enumerate(scene.units):
            self.change(tokens[row], scene.token(unit, self.stream), row, scene)
        return replace(context, user=with_values(context.user, self.stream, tokens))

    @abstractmethod
    def change(self, tokens: Tensor, start: int, row: int, scene: Scene) -> None:
        """Change one conversation's tokens (T, ...), in place, from ``start`` on."""

    def first_block(self, unit: Unit, layout: Layout) -> int:
        return first_to_see(layout, self.stream, token_at(layout, self.stream, unit.time))


def values_of(user: UserStreams, stream: Stream) -> Tensor:
    return user.audio_BTK if stream is Stream.USER_AUDIO else user.video_BGU


def with_values(user: UserStreams, stream: Stream, values: Tensor) -> UserStreams:
    """The streams with other tokens in one of them."""
    return replace(user, audio_BTK=values) if stream is Stream.USER_AUDIO else replace(user, video_BGU=values)


@dataclass(frozen=True, kw_only=True)
class Silence(StreamEdit):
    """The user's microphone is on and hears nothing: the codec's silence."""

    stream: Stream = Stream.USER_AUDIO

    def change(self, tokens: Tensor, start: int, row: int, scene: Scene) -> None:
        tokens[start:] = scene.studio.audio_codec.silence_K


@dataclass(frozen=True, kw_only=True)
class Swap(StreamEdit):
    """From then on the user of another dyad, at the same time of its own conversation."""

    def change(self, tokens: Tensor, start: int, row: int, scene: Scene) -> None:
        other = scene.studio.data.cut([scene.partners[row].window])
        given = other.user_audio_BTK if self.stream is Stream.USER_AUDIO else other.user_video_BGU
        tokens[start:] = given[0, start:].to(tokens.dtype)


@dataclass(frozen=True, kw_only=True)
class Delay(StreamEdit):
    """From then on everything comes ``seconds`` later, on the stream's grid; silence or the last picture before."""

    seconds: float

    def tokens(self, layout: Layout) -> int:
        return max(1, round(self.seconds / float(layout.grid(self.stream))))

    def exact_seconds(self, layout: Layout) -> float:
        return float(self.tokens(layout) * layout.grid(self.stream))

    def change(self, tokens: Tensor, start: int, row: int, scene: Scene) -> None:
        late = self.tokens(scene.layout)
        before = tokens.clone()
        held = scene.studio.audio_codec.silence_K if self.stream is Stream.USER_AUDIO else before[start - 1]
        tokens[start : start + late] = held
        tokens[start + late :] = before[start : len(before) - late]


@dataclass(frozen=True, kw_only=True)
class Off:
    """The stream is switched off: no tokens, no attention, not a black picture."""

    stream: Stream
    from_start: bool = False

    def baseline(self, context: Context, scene: Scene) -> Context:
        return context

    def edit(self, context: Context, scene: Scene) -> Context:
        user = context.user
        heard = self.stream is Stream.USER_AUDIO
        on_BS = (user.hears_BS if heard else user.sees_BS).clone()
        present = (user.audio_present_BT if heard else user.video_present_BG).clone()
        for row, unit in enumerate(scene.units):
            on_BS[row, self.first_block(unit, scene.layout) :] = False
            present[row, 0 if self.from_start else scene.token(unit, self.stream) :] = False
        if heard:
            return replace(context, user=replace(user, hears_BS=on_BS, audio_present_BT=present))
        return replace(context, user=replace(user, sees_BS=on_BS, video_present_BG=present))

    def first_block(self, unit: Unit, layout: Layout) -> int:
        return 0 if self.from_start else layout.num_blocks(unit.time)


def unequal_before(left: Tensor, right: Tensor, end_B: Sequence[int]) -> list[int]:
    """Rows of (B, T, ...) that differ somewhere before their own end."""
    return [row for row, end in enumerate(end_B) if not torch.equal(left[row, :end], right[row, :end])]
