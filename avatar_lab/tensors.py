"""Frozen currency objects that cross package lines, and the legend of shape suffixes used everywhere.

    B  conversations in a batch      S  blocks in a window          A  audio tokens in a window
    F  video latents in a window     K  codebooks                   V  entries per codebook
    D  width of an audio embedding   H, W, C  latent grid, channels E  audio tokens incl. script look-ahead (A + L)
    T  user audio tokens (lead + A)  G  user video tokens (lead+F)  U  width of a user video feature
    N  audio tokens of the anchor    L  script look-ahead tokens    P  video frames in a window
    Q  user video frames (lead + P)

"Lead" is the stretch of user stream before the window that its first blocks can still see (``Layout.lead_tokens``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, get_type_hints

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TensorRecord:
    """A frozen dataclass of tensors that moves between devices as one and indexes along the batch."""

    def apply(self, fn: Callable[[Tensor], Tensor]) -> Self:
        """Record with ``fn`` applied to every tensor, nested records included."""
        changed: dict[str, Tensor | TensorRecord] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = fn(value)
            elif isinstance(value, TensorRecord):
                changed[field.name] = value.apply(fn)
        return replace(self, **changed)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Self:
        """Record on ``device``; ``dtype`` converts floating tensors only."""
        return self.apply(lambda x: x.to(device, dtype if x.is_floating_point() else None))

    def detach(self) -> Self:
        return self.apply(Tensor.detach)

    def __getitem__(self, index: slice | Tensor) -> Self:
        return self.apply(lambda x: x[index])

    def flat(self) -> dict[str, Tensor]:
        """All tensors by dotted name, as files want them."""
        found: dict[str, Tensor] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, TensorRecord):
                found |= {f"{field.name}.{name}": tensor for name, tensor in value.flat().items()}
            else:
                found[field.name] = value
        return found

    @classmethod
    def from_flat(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Inverse of :meth:`flat`.

        Raises:
            ValueError: a tensor is missing, or one is left over.
        """
        left, made = dict(tensors), dict[str, Any]()
        for name, kind in get_type_hints(cls).items():
            if isinstance(kind, type) and issubclass(kind, TensorRecord):
                inside = [key for key in left if key.startswith(f"{name}.")]
                made[name] = kind.from_flat({key.removeprefix(f"{name}."): left.pop(key) for key in inside})
            elif name in left:
                made[name] = left.pop(name)
            else:
                raise ValueError(f"a {cls.__name__} needs a tensor {name!r}; there are {sorted(left)}")
        if left:
            raise ValueError(f"a {cls.__name__} has no {sorted(left)}: made by another version?")
        return cls(**made)


@dataclass(frozen=True, kw_only=True)
class AVState(TensorRecord):
    """One point of the joint flow: clean, noise, noisy or velocity of audio embeddings and video latents."""

    audio_BAD: Tensor
    video_BFHWC: Tensor

    def combine(self, other: AVState, fn: Callable[[Tensor, Tensor], Tensor]) -> AVState:
        """Apply ``fn`` modality by modality."""
        return AVState(
            audio_BAD=fn(self.audio_BAD, other.audio_BAD), video_BFHWC=fn(self.video_BFHWC, other.video_BFHWC)
        )


def join(states: Sequence[AVState]) -> AVState:
    """Blocks one after another in time."""
    return AVState(
        audio_BAD=torch.cat([state.audio_BAD for state in states], dim=1),
        video_BFHWC=torch.cat([state.video_BFHWC for state in states], dim=1),
    )


@dataclass(frozen=True, kw_only=True)
class NoiseLevels(TensorRecord):
    """Noise level sigma of every token, in [0, 1]; 1 is pure noise, 0 is observed or finished."""

    audio_BA: Tensor
    video_BF: Tensor


@dataclass(frozen=True, kw_only=True)
class Prediction(TensorRecord):
    """What the network says: token logits for audio, velocity (noise - clean) for video."""

    logits_BAKV: Tensor
    velocity_BFHWC: Tensor


@dataclass(frozen=True, kw_only=True)
class Anchor(TensorRecord):
    """Permanent memory of who the avatar is: one picture and a few seconds of its voice, from outside the window."""

    picture_BHWC: Tensor
    voice_BNK: Tensor
    present_B: Tensor
    """bool; False where the anchor was dropped in training."""


@dataclass(frozen=True, kw_only=True)
class FrameFeatures(TensorRecord):
    """Arrays that the data set brought along (face parameters, poses) by name, one row per video frame of the layout.

    Those of the avatar cover the window (B, P, ...), those of the user its lead too (B, Q, ...), as ``user_video_BGU``
    does. ``*_valid``, (B, P) and (B, Q) bool, say where there is a row; elsewhere are zeros. NaN are of the data set.
    """

    avatar: Mapping[str, Tensor]
    avatar_valid: Mapping[str, Tensor]
    user: Mapping[str, Tensor]
    user_valid: Mapping[str, Tensor]

    def apply(self, fn: Callable[[Tensor], Tensor]) -> Self:
        changed = {
            field.name: {name: fn(tensor) for name, tensor in getattr(self, field.name).items()}
            for field in fields(self)
        }
        return replace(self, **changed)


@dataclass(frozen=True, kw_only=True)
class DyadBatch(TensorRecord):
    """What the data loader yields: windows of conversations, one participant as the avatar, the other as the user."""

    audio_BEK: Tensor
    """int64 tokens of the avatar, window plus script look-ahead."""
    script_BE: Tensor
    """bool: part of the avatar's planned speech (its turns, vocal reactions and brief interruptions excluded)."""
    sound_BE: Tensor
    """bool: the avatar's own voice is active (speech, vocal reactions, laughs)."""
    audio_valid_BE: Tensor
    """bool: recorded and usable; False tokens carry no loss."""
    video_BFHWC: Tensor
    video_valid_BF: Tensor
    user_audio_BTK: Tensor
    user_audio_valid_BT: Tensor
    """bool: there was user audio at this token; False before the start of the recording."""
    user_video_BGU: Tensor
    user_video_valid_BG: Tensor
    anchor: Anchor
    sample_B: Tensor
    """int64 identity of the (interaction, side, window), the conversation key of counter-based noise."""
    features: FrameFeatures | None = None
    """Only where they were asked for."""

    @property
    def size(self) -> int:
        return self.audio_BEK.shape[0]
