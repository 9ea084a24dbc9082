"""The media clock of one recording: how many tokens, latents and frames, and which source frame is shown when.

P frames on the layout's grid   S samples   T audio tokens   F video latents
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from avatar_lab.data.schema.time_axis import TOLERANCE, row_at
from avatar_lab.layout import Layout
from data_prep.steps.scratch import ScratchArray


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Lengths of one recording on the layout's grids; each stream ends at its own last whole token."""

    audio_tokens: int
    latents: int
    frames: int
    samples: int

    @classmethod
    def of(cls, layout: Layout, seconds: float) -> Clock:
        span = Fraction(seconds + TOLERANCE).limit_denominator(1_000_000)
        tokens, latents = int(span * layout.audio_rate), int(span * layout.latent_rate)
        return cls(
            audio_tokens=tokens,
            latents=latents,
            frames=latents * layout.frames_per_latent,
            samples=tokens * layout.samples_per_token,
        )


def frames_on_grid(pts_P: np.ndarray, *, fps: Fraction, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Index of the source frame shown at each grid time, and whether the source had a live picture then.

    Timestamps decide, not frame numbers times a nominal rate: variable rates, dropped frames and late starts keep sync.
    """
    return row_at(pts_P, np.arange(count) * float(1 / fps))


def waveform_on_grid(
    pieces: Iterable[tuple[np.ndarray, float]],
    placed: ScratchArray,
    *,
    shift: float = 0.0,
    layout: Layout,
    clock: Clock,
) -> np.ndarray:
    """Put a waveform at its media time, cut to whole tokens; validity of each token (T,).

    Args:
        pieces: consecutive stretches of the waveform, each with the media time of the first sample of all.
        placed: receives them; ``clock.samples`` long and silent.
        shift: seconds to add to the media times.
    """
    read = offset = 0
    for wav_S, start in pieces:
        offset = round((start + shift) * layout.sample_rate)
        at = offset + read
        early = max(0, -at)
        used_S = wav_S[early : max(early, clock.samples - at)]
        if len(used_S):
            placed.write(at + early, used_S)
        read += len(wav_S)
    first = max(0, offset)
    last = first + min(max(0, read - max(0, -offset)), max(0, clock.samples - first))
    token = np.arange(clock.audio_tokens) * layout.samples_per_token
    slack = round(TOLERANCE * layout.sample_rate)
    return (token >= first - slack) & (token + layout.samples_per_token <= last + slack)
