"""Endless voices for training the audio codec: one short recording of one random person per index.

S  samples   R  rows of 10 ms
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avatar_lab.layout import Layout
from avatar_lab.world.speech import backchannel_rows, laugh_rows, silence_rows, speech_rows
from avatar_lab.world.tracks import VOICE_RATE
from avatar_lab.world.voice import ENERGY, F0, HARMONIC_LEVEL, NOISE, NOISE_LEVEL, VOICED, Voice, synthesize

_MAX_LEAD_SECONDS = 1.0


class Utterances(Dataset[dict[str, Tensor]]):
    """Map-style dataset, a pure function of ``(seed, index)``.

    An item holds ``wav_S`` (the recording), and per 10 ms ``f0_R`` (Hz) and ``voicing_R`` (harmonic share of power).
    """

    def __init__(self, *, layout: Layout, size: int, num_tokens: int, seed: int) -> None:
        if size < 1 or num_tokens < 1:
            raise ValueError(f"size ({size}) and num_tokens ({num_tokens}) must be at least 1")
        self.size = size
        self.seed = seed
        self.sample_rate = layout.sample_rate
        self.samples = num_tokens * layout.samples_per_token

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.size:
            raise IndexError(f"utterance {index} of {self.size}")
        rng = np.random.default_rng([self.seed, index])
        voice = Voice.sample(rng)
        num_rows = self.samples * VOICE_RATE // self.sample_rate
        lead = int(rng.integers(int(_MAX_LEAD_SECONDS * VOICE_RATE)))
        rows = conversation_rows(rng, voice, num_rows + lead)
        wave = synthesize(voice, rows, self.sample_rate, rng)
        first = lead * self.sample_rate // VOICE_RATE
        rows = rows[lead:]
        harmonic = (HARMONIC_LEVEL * rows[:, VOICED]) ** 2
        noise = (NOISE_LEVEL * rows[:, NOISE]) ** 2
        voicing = np.where(rows[:, ENERGY] > 0, harmonic / (harmonic + noise + 1e-9), 0.0)
        return {
            "wav_S": torch.from_numpy(wave[first : first + self.samples].astype(np.float32)),
            "f0_R": torch.from_numpy(rows[:, F0].astype(np.float32)),
            "voicing_R": torch.from_numpy(voicing.astype(np.float32)),
        }


def conversation_rows(rng: np.random.Generator, voice: Voice, num_rows: int) -> np.ndarray:
    """One side of a conversation: speech, pauses, reactions and silence in random order, at a random loudness."""
    parts: list[np.ndarray] = []
    length = 0
    choices: list[tuple[float, Callable[[], np.ndarray]]] = [
        (0.46, lambda: _speech(rng, voice)),
        (0.14, lambda: backchannel_rows(rng, voice)),
        (0.1, lambda: laugh_rows(rng, voice)),
        (0.3, lambda: silence_rows(voice, float(rng.uniform(0.5, 2.0)))),
    ]
    weights = [weight for weight, _ in choices]
    while length < num_rows:
        part = choices[rng.choice(len(choices), p=weights)][1]()
        gap = silence_rows(voice, float(rng.uniform(0.15, 0.6)))
        parts += [part, gap]
        length += len(part) + len(gap)
    rows = np.concatenate(parts)[:num_rows].copy()
    rows[:, ENERGY] *= np.exp(rng.uniform(-0.5, 0.15))
    return rows


def _speech(rng: np.random.Generator, voice: Voice) -> np.ndarray:
    seconds = float(rng.uniform(0.5, 2.8))
    low_pitch = []
    if seconds > 1.0 and rng.uniform() < 0.4:
        start = float(rng.uniform(0.3, seconds - 0.5))
        low_pitch = [(start, start + float(rng.uniform(0.15, 0.35)))]
    return speech_rows(rng, voice, seconds, low_pitch=low_pitch, final_fall=bool(rng.uniform() < 0.5))
