"""How well the pixel reader reads: R squared of its channels against the world's own tracks.

Measured where it is used, on frames that went through the video codec, of the very conversations that are evaluated.
Every metric read from pixels is worth no more than this number.

    P video frames   C reader channels
"""

from __future__ import annotations

import numpy as np
import torch

from avatar_lab.evaluation.lip_sync import Array
from avatar_lab.evaluation.observation import read_channels
from avatar_lab.evaluation.references import Unavailable
from avatar_lab.evaluation.studio import Studio
from avatar_lab.perception.pixel_reader import READ_CHANNELS
from avatar_lab.world.tracks import FACE_CHANNELS

STILL = 1e-3
"""Channels whose truth varies less than this have nothing to be read."""
COLUMNS = [FACE_CHANNELS.index(name) for name in READ_CHANNELS]


def read_quality(studio: Studio, *, num_conversations: int) -> dict[str, float | None] | None:
    """R squared by channel over the oracle's decoded frames; ``None`` where the truth is not known or does not move."""
    numbers = range(min(num_conversations, len(studio.conversations)))
    conversations = [studio.conversations[number] for number in numbers]
    try:
        truths = [studio.references.truth(conversation) for conversation in conversations]
    except Unavailable:
        return None
    read, true = [], []
    with torch.inference_mode():
        made = studio.generate(studio.agents["oracle"], conversations)
        for tokens_AK, latents_FHWC, tracks in zip(made.tokens_BAK, made.latents_BFHWC, truths, strict=True):
            read.append(read_channels(studio.decode(tokens_AK, latents_FHWC), studio.reader))
            true.append(tracks.face_TP[: len(read[-1]), COLUMNS].astype(np.float64))
    scores = r_squared(np.concatenate(read), np.concatenate(true))
    return dict(zip(READ_CHANNELS, scores, strict=True))


def r_squared(read_PC: Array, true_PC: Array) -> list[float | None]:
    """1 - residual over total variance per channel; ``None`` for a channel that does not move."""
    residual_C, spread_C = ((read_PC - true_PC) ** 2).mean(0), true_PC.var(0)
    return [
        round(float(1 - residual / spread), 4) if spread > STILL**2 else None
        for residual, spread in zip(residual_C, spread_C, strict=True)
    ]
