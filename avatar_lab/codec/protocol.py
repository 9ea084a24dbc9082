"""What a codec must offer. Offline and streaming are the same call: pass the returned state to go on.

``tests/codec/conformance.py`` holds every codec to it.

B batch   S samples   A audio tokens   K codebooks   P video frames   F video latents   H, W, C latent grid
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from torch import Tensor

from avatar_lab.codebook import Codebook


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    """Facts about an audio codec that the layout, the schema and the checkpoint are checked against."""

    name: str
    sample_rate: int
    token_rate: Fraction
    num_codebooks: int
    codebook_size: int
    embedding_width: int
    fingerprint: str
    """First 16 hex digits of the sha256 over configuration and weights."""


@dataclass(frozen=True, kw_only=True)
class VideoSpec:
    """Facts about a video codec."""

    name: str
    frames_per_latent: int
    frame_height: int
    frame_width: int
    grid_height: int
    grid_width: int
    channels: int
    warm_latents: int
    """Latents after which an encoder that started cold agrees with one that has been running (to its tolerance)."""
    fingerprint: str


State = Any
"""Opaque streaming state of one direction of one codec; ``None`` starts cold. A value: going on from it leaves it as it
was, so that a stream may go on from one state in several ways."""


class AudioCodec(Protocol):
    """Causal neural audio codec with residual vector quantisation."""

    spec: AudioSpec
    codebook: Codebook
    """Tables of the flow; ``codebook.embed(tokens)`` has about unit variance over speech."""
    silence_K: Tensor
    """int64 tokens of lasting silence."""

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Waveform in [-1, 1], whole tokens long, to int64 tokens (B, A, K).

        Raises:
            ValueError: the number of samples is not a multiple of a token.
        """
        ...

    def decode(self, tokens_BAK: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Tokens to waveform (B, A * samples per token)."""
        ...


class VideoCodec(Protocol):
    """Causal video autoencoder. Latents are normalised to about zero mean and unit variance per channel."""

    spec: VideoSpec

    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        """uint8 RGB frames, whole latents long, to latents (B, F, H, W, C).

        A cold start (``state=None``) behaves as if the first frame had stood still before, for as long as the codec can
        know without encoding that past (one frame at least); ``VideoSpec.warm_latents`` says when it no longer matters.

        Raises:
            ValueError: the number of frames is not a multiple of ``frames_per_latent``, or the size is wrong.
        """
        ...

    def decode(self, latents_BFHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Latents to uint8 RGB frames (B, F * frames_per_latent, height, width, 3)."""
        ...

    def encode_picture(self, picture_BHWC: Tensor) -> Tensor:
        """uint8 RGB pictures to one latent (B, H, W, C), by an encoder state of its own."""
        ...


def refuse_partial_tokens(wav_BS: Tensor, samples_per_token: int) -> None:
    """What every ``AudioCodec.encode`` promises to refuse.

    Raises:
        ValueError: the number of samples is not a multiple of a token.
    """
    if wav_BS.ndim != 2 or wav_BS.shape[1] % samples_per_token:
        raise ValueError(
            f"encode needs (batch, samples) with whole tokens of {samples_per_token} samples, got "
            f"{tuple(wav_BS.shape)}; pad or cut the waveform"
        )


def refuse_partial_latents(frames_BPHWC: Tensor, frames_per_latent: int) -> None:
    """What every ``VideoCodec.encode`` promises to refuse.

    Raises:
        ValueError: there are no frames, or not whole latents of them.
    """
    count = frames_BPHWC.shape[1]
    if count == 0 or count % frames_per_latent:
        raise ValueError(f"{count} frames are not whole latents of {frames_per_latent} frames: pad or hold some back")
