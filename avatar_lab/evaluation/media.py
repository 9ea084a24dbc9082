"""Codec space to pixels and waveform, the same path for every agent, in pieces: those of video fit the processor's
cache, and an hour of sound takes the memory of a minute.

A audio tokens   K codebooks   F latents   H, W, C   P video frames   S samples
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatar_lab.codec.protocol import AudioCodec, State, VideoCodec
from avatar_lab.layout import Layout
from avatar_lab.precision import fast_products

LATENTS_PER_PIECE = 16
TOKENS_PER_PIECE = 1024


@dataclass(frozen=True, kw_only=True)
class Media:
    """What one agent showed and said in one conversation: uint8 frames and a waveform in [-1, 1]."""

    video_PHWC: NDArray[np.uint8]
    audio_S: NDArray[np.float32]

    def first(self, seconds: float, layout: Layout) -> Media:
        """The first ``seconds`` of it."""
        frames, samples = int(seconds * layout.fps), int(seconds * layout.sample_rate)
        return Media(video_PHWC=self.video_PHWC[:frames], audio_S=self.audio_S[:samples])


def decode(tokens_AK: Tensor, latents_FHWC: Tensor, *, audio_codec: AudioCodec, video_codec: VideoCodec) -> Media:
    """Media of one conversation."""
    audio_S = decode_audio(tokens_AK, audio_codec)
    if (latents_FHWC == latents_FHWC[:1]).all():  # a decoder at rest gives the same frames for ever
        video_PHWC = np.tile(decode_video(latents_FHWC[:1], video_codec), (len(latents_FHWC), 1, 1, 1))
    else:
        video_PHWC = decode_video(latents_FHWC, video_codec)
    return Media(video_PHWC=video_PHWC, audio_S=audio_S)


def decode_audio(tokens_AK: Tensor, audio_codec: AudioCodec) -> NDArray[np.float32]:
    """Waveform (S,) of one sound."""
    pieces, state = [], None
    for tokens_BAK in tokens_AK[None].split(TOKENS_PER_PIECE, dim=1):
        wav_BS, state = audio_codec.decode(tokens_BAK, state)
        pieces.append(wav_BS[0].float().numpy())
    return np.concatenate(pieces)


def decode_video(latents_FHWC: Tensor, video_codec: VideoCodec) -> NDArray[np.uint8]:
    """Frames (P, H, W, 3) of one video."""
    frames, state = [], None
    for latents_BFHWC in latents_FHWC[None].split(LATENTS_PER_PIECE, dim=1):
        piece, state = _decode_piece(video_codec, latents_BFHWC, state)
        frames.append(piece)
    return np.concatenate(frames)


def _decode_piece(codec: VideoCodec, latents_BFHWC: Tensor, state: State) -> tuple[NDArray[np.uint8], State]:
    with torch.inference_mode(), fast_products(latents_BFHWC.device.type):
        frames_BPHWC, state = codec.decode(latents_BFHWC, state)
    return frames_BPHWC[0].numpy(), state
