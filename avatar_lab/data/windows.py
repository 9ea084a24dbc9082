"""Cut a window out of a conversation: one participant is the avatar, the other the user, starting on the block grid.

Everything that the recording does not contain (user streams before its start, script look-ahead past its end) is filled
with silence and marked invalid. The anchor comes from outside the window wherever the conversation is long enough.
Shape legend: ``tensors.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b

import numpy as np
import torch

from avatar_lab.data.schema import SIDES, FeatureForm, Interaction, SideArrays
from avatar_lab.data.schema.npy import Rows
from avatar_lab.data.window_features import WindowFeatures, cut_features, stack_features
from avatar_lab.layout import Layout, Stream
from avatar_lab.tensors import Anchor, DyadBatch


@dataclass(frozen=True, kw_only=True)
class WindowId:
    """One window: who is the avatar, where it starts, how long it is."""

    key: str
    side: str
    start_block: int
    num_blocks: int
    heard_live: bool = False
    """The user's sound as heard in live use (``user_tokens``), not as recorded; no part of the identity."""

    @property
    def sample(self) -> int:
        """63-bit identity, the conversation key of counter-based noise."""
        text = f"{self.key}/{self.side}/{self.start_block}+{self.num_blocks}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1


@dataclass(frozen=True, kw_only=True)
class Window:
    """Arrays of one window, the fields of ``DyadBatch`` without the batch axis."""

    audio_EK: np.ndarray
    script_E: np.ndarray
    sound_E: np.ndarray
    audio_valid_E: np.ndarray
    video_FHWC: np.ndarray
    video_valid_F: np.ndarray
    user_audio_TK: np.ndarray
    user_audio_valid_T: np.ndarray
    user_video_GU: np.ndarray
    user_video_valid_G: np.ndarray
    picture_HWC: np.ndarray
    voice_NK: np.ndarray
    anchor_present: np.bool_
    sample: np.int64
    features: WindowFeatures | None = None


def whole_blocks(layout: Layout, *, audio_tokens: int, video_latents: int) -> int:
    """Blocks that both streams of a conversation fill; a conversation without any pictures is as long as its sound."""
    lengths = {"audio_tokens_N": np.asarray([audio_tokens]), "video_latents_N": np.asarray([video_latents])}
    return int(whole_blocks_of_each(layout, **lengths)[0])


def whole_blocks_of_each(layout: Layout, *, audio_tokens_N: np.ndarray, video_latents_N: np.ndarray) -> np.ndarray:
    """The same of many conversations, (N,)."""
    by_sound_N, by_pictures_N = audio_tokens_N // layout.audio_per_block, video_latents_N // layout.latents_per_block
    return np.where(video_latents_N > 0, np.minimum(by_sound_N, by_pictures_N), by_sound_N)


def cut_window(
    interaction: Interaction,
    window: WindowId,
    *,
    layout: Layout,
    silence_K: np.ndarray,
    features: Sequence[FeatureForm] = (),
) -> Window:
    """Arrays of ``window``, and the named ``features`` that the data set brought along.

    Raises:
        ValueError: the window ends after the conversation, the conversation is shorter than the voice sample, or it was
            not prepared as heard live.
    """
    avatar = interaction.sides[window.side]
    user = interaction.sides[SIDES[1 - SIDES.index(window.side)]]
    blocks = whole_blocks(layout, audio_tokens=len(avatar.audio_tokens), video_latents=len(avatar.avatar_latents))
    if window.start_block < 0 or window.start_block + window.num_blocks > blocks:
        raise ValueError(f"{window} does not fit into the {blocks} whole blocks of the conversation")
    audio_start = window.start_block * layout.audio_per_block
    audio_end = audio_start + window.num_blocks * layout.audio_per_block
    video_start = window.start_block * layout.latents_per_block
    video_end = video_start + window.num_blocks * layout.latents_per_block
    tail = audio_end + layout.script_lookahead
    user_audio_start = audio_start - layout.lead_tokens(Stream.USER_AUDIO)
    user_video_start = video_start - layout.lead_tokens(Stream.USER_VIDEO)
    heard_TK = user.user_tokens if window.heard_live else user.audio_tokens
    if heard_TK is None:
        raise ValueError(f"{window.key} has no user_tokens: prepare the data with an augment block")
    user_width = user.user_features.shape[-1]
    voice = voice_start(avatar.sound, layout=layout, start=audio_start, end=audio_end)
    return Window(
        audio_EK=_span(avatar.audio_tokens, audio_start, tail, silence_K),
        script_E=_span(avatar.script, audio_start, tail, np.False_),
        sound_E=_span(avatar.sound, audio_start, tail, np.False_),
        audio_valid_E=_span(avatar.audio_valid, audio_start, tail, np.False_),
        video_FHWC=_span(avatar.avatar_latents, video_start, video_end, np.float16(0)),
        video_valid_F=_span(avatar.video_valid, video_start, video_end, np.False_),
        user_audio_TK=_span(heard_TK, user_audio_start, audio_end, silence_K),
        user_audio_valid_T=_span(user.audio_valid, user_audio_start, audio_end, np.False_),
        user_video_GU=_span(user.user_features, user_video_start, video_end, np.zeros(user_width, np.float16)),
        user_video_valid_G=_span(user.video_valid, user_video_start, video_end, np.False_),
        picture_HWC=_picture(avatar, layout=layout, start=video_start, end=video_end),
        anchor_present=np.bool_(len(avatar.pictures) > 0),
        voice_NK=avatar.audio_tokens[voice : voice + layout.anchor_tokens],
        sample=np.int64(window.sample),
        features=None if not features else _features(interaction, window, features, layout=layout),
    )


def _features(
    interaction: Interaction, window: WindowId, forms: Sequence[FeatureForm], *, layout: Layout
) -> WindowFeatures:
    """Arrays of both people on the frames of ``video_FHWC`` and ``user_video_GU``."""
    first, count = window.start_block * layout.frames_per_block, window.num_blocks * layout.frames_per_block
    lead = layout.lead_tokens(Stream.USER_VIDEO) * layout.frames_per_latent
    user = interaction.features.get(SIDES[1 - SIDES.index(window.side)])
    return WindowFeatures(
        avatar=cut_features(interaction.features.get(window.side), forms, layout=layout, first=first, count=count),
        user=cut_features(user, forms, layout=layout, first=first - lead, count=lead + count),
    )


def voice_start(sound_T: np.ndarray, *, layout: Layout, start: int, end: int) -> int:
    """First token of the voice sample: most own voice among stretches outside ``[start, end)``, else anywhere.

    Raises:
        ValueError: the conversation is shorter than the voice sample.
    """
    length = layout.anchor_tokens
    if len(sound_T) < length:
        raise ValueError(
            f"a conversation of {len(sound_T)} audio tokens is shorter than the anchor's voice sample of {length}: "
            "raise min_seconds in the preparation or shorten layout.anchor_seconds"
        )
    total = np.concatenate([[0], np.cumsum(sound_T)])
    speech = total[length:] - total[:-length]
    outside = speech.copy()
    outside[max(0, start - length + 1) : end] = -1
    return int(outside.argmax() if outside.max() >= 0 else speech.argmax())


def stack_windows(windows: list[Window]) -> DyadBatch:
    """Batch of equally long windows."""
    names = [field.name for field in fields(Window) if field.name != "features"]
    arrays = {name: np.stack([getattr(w, name) for w in windows]) for name in names}
    features = [window.features for window in windows if window.features is not None]

    def integers(name: str) -> torch.Tensor:
        return torch.from_numpy(arrays[name].astype(np.int64))

    def floats(name: str) -> torch.Tensor:
        return torch.from_numpy(arrays[name].astype(np.float32))

    def flags(name: str) -> torch.Tensor:
        return torch.from_numpy(arrays[name])

    return DyadBatch(
        audio_BEK=integers("audio_EK"),
        script_BE=flags("script_E"),
        sound_BE=flags("sound_E"),
        audio_valid_BE=flags("audio_valid_E"),
        video_BFHWC=floats("video_FHWC"),
        video_valid_BF=flags("video_valid_F"),
        user_audio_BTK=integers("user_audio_TK"),
        user_audio_valid_BT=flags("user_audio_valid_T"),
        user_video_BGU=floats("user_video_GU"),
        user_video_valid_BG=flags("user_video_valid_G"),
        anchor=Anchor(
            picture_BHWC=floats("picture_HWC"),
            voice_BNK=integers("voice_NK"),
            present_B=flags("anchor_present"),
        ),
        sample_B=torch.from_numpy(arrays["sample"]),
        features=stack_features(features) if features else None,
    )


def _span(array: Rows, start: int, end: int, fill: np.ndarray | np.generic) -> np.ndarray:
    """``array[start:end]`` along the first axis, ``fill`` where the recording has nothing."""
    inner = array[max(start, 0) : min(end, len(array))]
    before, after = max(-start, 0), max(end - len(array), 0)
    if not before and not after:
        return inner
    out = np.empty((end - start, *array.shape[1:]), array.dtype)
    out[:] = fill
    out[before : before + len(inner)] = inner
    return out


def _picture(side: SideArrays, *, layout: Layout, start: int, end: int) -> np.ndarray:
    """The first neutral picture whose latent lies outside ``[start, end)``, else the first; zeros if there is none."""
    if not len(side.pictures):
        return np.zeros(side.pictures.shape[1:], np.float16)
    latent_R = side.picture_frames // layout.frames_per_latent
    outside = np.flatnonzero((latent_R < start) | (latent_R >= end))
    return side.pictures[outside[0] if len(outside) else 0]
