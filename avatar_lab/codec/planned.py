"""Codecs of which only the grids are known: what a plan needs to size networks before any weights are downloaded."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from avatar_lab.codebook import Codebook
from avatar_lab.codec.protocol import AudioSpec, State, VideoSpec

FINGERPRINT = "planned"


def _refuse() -> NoReturn:
    raise ValueError("a planned codec has no weights: load the codec to encode or decode")


class PlannedAudio:
    """An ``AudioCodec`` without weights; its tables lie on the meta device."""

    def __init__(self, spec: AudioSpec) -> None:
        self.spec = spec
        shape = (spec.num_codebooks, spec.codebook_size, spec.embedding_width)
        self.codebook = Codebook(torch.empty(shape, device="meta"))
        self.silence_K = torch.zeros(spec.num_codebooks, dtype=torch.long, device="cpu")

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, Any]:
        """Raises ValueError."""
        _refuse()

    def decode(self, tokens_BAK: Tensor, state: State = None) -> tuple[Tensor, Any]:
        """Raises ValueError."""
        _refuse()


class PlannedVideo:
    """A ``VideoCodec`` without weights."""

    def __init__(self, spec: VideoSpec) -> None:
        self.spec = spec

    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, Any]:
        """Raises ValueError."""
        _refuse()

    def decode(self, latents_BFHWC: Tensor, state: State = None) -> tuple[Tensor, Any]:
        """Raises ValueError."""
        _refuse()

    def encode_picture(self, picture_BHWC: Tensor) -> Tensor:
        """Raises ValueError."""
        _refuse()
