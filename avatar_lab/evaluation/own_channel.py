"""Sounds mixed into what is already there: noise and the avatar's own echo into the user's microphone, the user into
the avatar's own channel.

Both arms decode and encode again, so that what they differ in is what was mixed in and not the codec's second pass.

    S samples   T, N, E tokens (``tensors.py``)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar_lab.codec.protocol import AudioCodec
from avatar_lab.context import Context, OwnAudio
from avatar_lab.evaluation.conversation import user_batch
from avatar_lab.evaluation.treatments import Scene, first_to_see, token_at, with_values
from avatar_lab.evaluation.units import Unit
from avatar_lab.layout import Layout, Stream


@dataclass(frozen=True, kw_only=True)
class AtMicrophone(ABC):
    """Base of sounds that are added to what the user's microphone hears."""

    level_db: float
    stream: Stream = Stream.USER_AUDIO

    def baseline(self, context: Context, scene: Scene) -> Context:
        return replace(context, user=with_values(context.user, self.stream, self._again(context, scene, 0.0)))

    def edit(self, context: Context, scene: Scene) -> Context:
        gain = 10 ** (self.level_db / 20)
        return replace(context, user=with_values(context.user, self.stream, self._again(context, scene, gain)))

    def first_block(self, unit: Unit, layout: Layout) -> int:
        return first_to_see(layout, self.stream, token_at(layout, self.stream, unit.time))

    @abstractmethod
    def _again(self, context: Context, scene: Scene, gain: float) -> Tensor:
        """Tokens (B, T, K) of what is heard, with the sound added at ``gain``."""


@dataclass(frozen=True, kw_only=True)
class Noise(AtMicrophone):
    """A burst of faint white noise at the user's microphone: something in the room, which means nothing."""

    level_db: float = -46.0
    """Root mean square against full scale; speech lies near -20."""
    seconds: float = 0.6

    def _again(self, context: Context, scene: Scene, gain: float) -> Tensor:
        tokens_BTK = context.user.audio_BTK.clone()
        codec, layout = scene.studio.audio_codec, scene.layout
        wav_BS, _ = codec.decode(tokens_BTK)
        length = round(self.seconds * layout.sample_rate)
        for row, unit in enumerate(scene.units):
            start = scene.token(unit, self.stream) * layout.samples_per_token
            rng = torch.Generator().manual_seed(unit.recorded.window.sample % 2**32)
            burst_S = gain * torch.randn(length, generator=rng)
            wav_BS[row, start : start + length] += burst_S[: wav_BS.shape[1] - start]
        return codec.encode(wav_BS)[0]


@dataclass(frozen=True, kw_only=True)
class Echo(AtMicrophone):
    """The avatar's recorded speech comes back from the user's loudspeaker into the user's microphone."""

    level_db: float = -20.0
    """Against the voice itself, as a laptop without echo cancellation gives it."""
    delay: float = 0.15

    def _again(self, context: Context, scene: Scene, gain: float) -> Tensor:
        codec, layout = scene.studio.audio_codec, scene.layout
        heard_BS, _ = codec.decode(context.user.audio_BTK)
        own_BS, _ = codec.decode(scene.batch.audio_BEK)
        lead = layout.lead_tokens(self.stream) * layout.samples_per_token
        late = lead + round(self.delay * layout.sample_rate)
        for row, unit in enumerate(scene.units):
            start = scene.token(unit, self.stream) * layout.samples_per_token
            begin = max(start, late)
            length = min(heard_BS.shape[1] - begin, own_BS.shape[1] - (begin - late))
            if length > 0:
                heard_BS[row, begin : begin + length] += gain * own_BS[row, begin - late : begin - late + length]
        return codec.encode(heard_BS.clamp(-1, 1))[0]


@dataclass(frozen=True, kw_only=True)
class Bleed:
    """The user is heard in the avatar's own channel, script and voice sample included, from the start."""

    level_db: float = -14.0
    stream: None = None

    def baseline(self, context: Context, scene: Scene) -> Context:
        return self._mixed(context, scene, 0.0)

    def edit(self, context: Context, scene: Scene) -> Context:
        return self._mixed(context, scene, 10 ** (self.level_db / 20))

    def _mixed(self, context: Context, scene: Scene, gain: float) -> Context:
        codec = scene.studio.audio_codec
        user = user_batch(scene.studio.data, [unit.recorded for unit in scene.units])
        plan_BEK, voice_BNK = context.plan.tokens_BEK, context.anchor.voice_BNK
        tokens_BEK = mixed(codec, scene.batch.audio_BEK, user.audio_BEK, gain)
        planned_BE1 = (context.plan.state_BE == OwnAudio.SPEECH)[..., None]
        return replace(
            context,
            plan=replace(context.plan, tokens_BEK=torch.where(planned_BE1, tokens_BEK, plan_BEK)),
            anchor=replace(
                context.anchor, voice_BNK=mixed(codec, voice_BNK, user.audio_BEK[:, : voice_BNK.shape[1]], gain)
            ),
        )

    def first_block(self, unit: Unit, layout: Layout) -> int:
        return 0


def mixed(codec: AudioCodec, own_BAK: Tensor, other_BAK: Tensor, gain: float) -> Tensor:
    """Own tokens with the sound of others mixed in, encoded again."""
    own_BS, other_BS = codec.decode(own_BAK)[0], codec.decode(other_BAK)[0]
    return codec.encode((own_BS + gain * other_BS).clamp(-1, 1))[0]
