"""Step 8, encode: both participants through the audio and video codec, as one batch of two, chunk by chunk.

The encoders run on from the first frame to the last, as they do in a live session; a chunk is only a limit on memory.

    B sides (a, b)   P frames   Q framings   H, W frame size   F latents   T audio tokens   K codebooks   S samples
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar_lab.codec.protocol import AudioCodec, VideoCodec, VideoSpec
from avatar_lab.data.schema import SIDES
from avatar_lab.data.schema.npy import Rows
from avatar_lab.events.waveform import Waveform
from data_prep.steps.crop import Crop
from data_prep.steps.scratch import ScratchArray
from data_prep.steps.store import StepResult

VERSION = 1


@torch.inference_mode()
def encode_audio(waveforms: Mapping[str, Waveform], codec: AudioCodec, *, chunk_tokens: int) -> dict[str, np.ndarray]:
    """Tokens (T, K) uint16 of both sides.

    Raises:
        ValueError: the codec's entries do not fit into 16 bits.
    """
    if codec.spec.codebook_size > np.iinfo(np.uint16).max + 1:
        raise ValueError(f"codec {codec.spec.name} has {codec.spec.codebook_size} entries; shards hold 16-bit tokens")
    samples = chunk_tokens * int(codec.spec.sample_rate / codec.spec.token_rate)
    state: Any = None
    parts = []
    for start in range(0, min(len(waveforms[side]) for side in SIDES), samples):
        wav_BS = torch.from_numpy(np.stack([waveforms[side][start : start + samples] for side in SIDES]))
        tokens_BAK, state = codec.encode(wav_BS, state)
        parts.append(tokens_BAK.numpy().astype(np.uint16))
    return dict(zip(SIDES, np.concatenate(parts, axis=1), strict=True))


@torch.inference_mode()
def encode_video(
    streams: dict[str, Iterator[np.ndarray]],
    codec: VideoCodec,
    framings: dict[str, tuple[Crop, ...]],
    *,
    chunk_frames: int,
    scratch: Path,
) -> dict[str, ScratchArray]:
    """Arrays ``<side>.avatar_latents`` (F, H, W, C) and ``<side>.user_features`` (F, U), half precision.

    Args:
        streams: source frames of each side in order, in pieces of any length.
        framings: crops of each side, as many for both; the first is the avatar's, the last the user's.
        chunk_frames: frames encoded at once, whole latents.
        scratch: folder of the files that hold them.

    Raises:
        ValueError: the codec gave values that are not finite in half precision.
    """
    framed = [_even_pieces(_framed(streams[side], framings[side], codec.spec), chunk_frames) for side in SIDES]
    rows = {name: ScratchArray(scratch, array.shape, array.dtype) for name, array in no_video(codec).items()}
    states: list[Any] = [None] * len(framings[SIDES[0]])
    for pair in zip(*framed, strict=True):
        frames_BPQHWC = torch.stack(pair)
        latents = []
        for index in range(len(states)):
            latents_BFHWC, states[index] = codec.encode(frames_BPQHWC[:, :, index], states[index])
            latents.append(latents_BFHWC.half().numpy())
        if not all(np.isfinite(part).all() for part in latents):
            raise ValueError(
                f"video codec {codec.spec.name} ({codec.spec.fingerprint}) gave latents beyond half precision"
            )
        for avatar_FHWC, user_FHWC, side in zip(latents[0], latents[-1], SIDES, strict=True):
            rows[f"{side}.avatar_latents"].append(avatar_FHWC)
            rows[f"{side}.user_features"].append(user_FHWC.reshape(len(user_FHWC), -1))
    return rows


def encode(
    waveforms: Mapping[str, Waveform],
    streams: dict[str, Iterator[np.ndarray]],
    *,
    audio_codec: AudioCodec,
    video_codec: VideoCodec,
    framings: dict[str, tuple[Crop, ...]],
    chunk_tokens: int,
    chunk_frames: int,
    scratch: Path,
) -> StepResult:
    """Tokens, latents and user features of both sides; without ``streams`` there are no latents."""
    tokens = encode_audio(waveforms, audio_codec, chunk_tokens=chunk_tokens)
    if streams:
        rows: Mapping[str, Rows] = encode_video(
            streams, video_codec, framings, chunk_frames=chunk_frames, scratch=scratch
        )
    else:
        rows = no_video(video_codec)
    return StepResult(arrays={f"{side}.audio_tokens": tokens[side] for side in SIDES}, rows=rows)


def no_video(codec: VideoCodec) -> dict[str, np.ndarray]:
    """Latents and user features of a recording without video: none, in the shapes of the schema."""
    grid = (codec.spec.grid_height, codec.spec.grid_width, codec.spec.channels)
    arrays: dict[str, np.ndarray] = {}
    for side in SIDES:
        arrays[f"{side}.avatar_latents"] = np.zeros((0, *grid), np.float16)
        arrays[f"{side}.user_features"] = np.zeros((0, prod(grid)), np.float16)
    return arrays


def _framed(pieces: Iterator[np.ndarray], crops: tuple[Crop, ...], spec: VideoSpec) -> Iterator[Tensor]:
    """Each piece (P, H, W, 3) in all framings at the codec's size (P, Q, H, W, 3): small, whatever the camera gave."""
    for piece in pieces:
        frames_PHWC = torch.from_numpy(piece)
        sized = [crop.apply(frames_PHWC, height=spec.frame_height, width=spec.frame_width) for crop in crops]
        yield torch.stack(sized, dim=1)


def _even_pieces(pieces: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """Regroup pieces into pieces of ``size`` frames; the last may be shorter."""
    held: list[Tensor] = []
    for piece in pieces:
        held.append(piece)
        while sum(map(len, held)) >= size:
            joined = torch.cat(held)
            yield joined[:size]
            held = [joined[size:]] if len(joined) > size else []
    if held:
        yield torch.cat(held)
