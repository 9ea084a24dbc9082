"""The media clock of one recording: how many tokens, latents and frames, and which source frame is shown when.

P frames on the layout's grid   S samples   T audio tokens   F video latents
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from avatar_lab.data.schema.time_axis import TOLERANCE, row_at
from avatar_lab.layout import Layout


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


def waveform_on_grid(wav_S: np.ndarray, *, start: float, layout: Layout, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
    """Waveform placed at its media time and cut to whole tokens, and validity of each token (T,)."""
    placed = np.zeros(clock.samples, np.float32)
    offset = round(start * layout.sample_rate)
    source = wav_S[max(0, -offset) :]
    first = max(0, offset)
    used = source[: max(0, clock.samples - first)]
    placed[first : first + len(used)] = used
    token = np.arange(clock.audio_tokens) * layout.samples_per_token
    slack = round(TOLERANCE * layout.sample_rate)
    valid_T = (token >= first - slack) & (token + layout.samples_per_token <= first + len(used) + slack)
    return placed, valid_T
