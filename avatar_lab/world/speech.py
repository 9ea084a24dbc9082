"""What a voice says: rows of ``VOICE_CHANNELS`` for speech, "mm-hm", laughter and silence.

Speech is a sequence of syllables (consonant, vowel, sometimes a coda) as steps of articulatory targets; smoothing the
steps over about the time constants of jaw, tongue and glottis gives coarticulation. F0 follows declination plus
accents. There are no words: the point is rhythm, voicing, formants and prosody.

    R  rows of 10 ms   Q  voice channels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.ndimage import gaussian_filter1d

from avatar_lab.world.tracks import VOICE_CHANNELS, VOICE_RATE
from avatar_lab.world.voice import ENERGY, F0, FORMANT1, FORMANT2, FORMANT3, NOISE, VOICED, Voice


class Utterance(StrEnum):
    """Kinds of vocal behaviour."""

    SPEECH = "speech"
    BACKCHANNEL = "backchannel"
    LAUGH = "laugh"


@dataclass(frozen=True)
class _Sound:
    """Targets of one speech sound; formants in Hz for a tract of scale 1."""

    voiced: float
    noise: float
    formants: tuple[float, float, float]
    energy: float
    seconds: float


_VOWELS = tuple(
    _Sound(1.0, 0.0, formants, energy, 0.12)
    for formants, energy in (
        ((300, 2250, 2950), 0.75),
        ((420, 1950, 2550), 0.85),
        ((560, 1750, 2450), 0.95),
        ((720, 1300, 2450), 1.0),
        ((760, 1550, 2500), 1.0),
        ((590, 950, 2450), 0.95),
        ((440, 900, 2350), 0.85),
        ((320, 850, 2300), 0.75),
        ((500, 1480, 2450), 0.8),
    )
)
_SONORANTS = (
    _Sound(0.9, 0.0, (260, 1100, 2200), 0.42, 0.06),
    _Sound(0.9, 0.0, (280, 1600, 2550), 0.42, 0.06),
    _Sound(0.95, 0.0, (350, 1150, 2700), 0.55, 0.06),
    _Sound(0.95, 0.0, (330, 1250, 1700), 0.55, 0.06),
    _Sound(0.95, 0.0, (290, 750, 2250), 0.5, 0.06),
    _Sound(0.95, 0.0, (280, 2150, 2950), 0.5, 0.05),
)
_FRICATIVES = (
    _Sound(0.0, 1.0, (300, 1700, 2900), 0.8, 0.09),
    _Sound(0.0, 1.0, (300, 1850, 2150), 0.8, 0.09),
    _Sound(0.0, 0.45, (320, 1200, 2500), 0.6, 0.08),
    _Sound(0.6, 0.5, (280, 1650, 2900), 0.5, 0.07),
    _Sound(0.0, 0.7, (560, 1500, 2500), 0.5, 0.06),
)
_BURSTS = (
    _Sound(0.0, 1.0, (340, 950, 2100), 0.55, 0.02),
    _Sound(0.0, 1.0, (340, 1750, 2700), 0.75, 0.025),
    _Sound(0.0, 0.9, (340, 2000, 2300), 0.65, 0.03),
)
_CLOSURE_SECONDS = 0.045
_NASAL = _SONORANTS[0]
_LAUGH_VOWEL = _Sound(0.85, 0.35, (700, 1450, 2550), 0.9, 0.09)
_LAUGH_BREATH = _Sound(0.0, 0.55, (600, 1450, 2550), 0.35, 0.1)
_PHRASE_SECONDS = 2.4
_FILLER_VOWEL = 0.28
"""Seconds of "uh" in an "uhm"."""
_FADE_ROWS = 3
_SMOOTHING = {VOICED: 0.8, NOISE: 0.6, FORMANT1: 2.0, FORMANT2: 2.4, FORMANT3: 2.4, ENERGY: 1.3}
"""Standard deviation of the smoothing kernel in rows."""
_LOW_PITCH_DEPTH = 1.35
"""F0 of a low-pitch region below the median, in units of the voice's range: under its 26th percentile."""


def speech_rows(
    rng: np.random.Generator,
    voice: Voice,
    seconds: float,
    *,
    low_pitch: Sequence[tuple[float, float]] = (),
    final_fall: bool,
) -> np.ndarray:
    """One inter-pausal unit of speech.

    Args:
        low_pitch: (start, end) stretches in seconds from the start, in which F0 drops clearly below the 26th percentile
            of the person's F0; the sounds there are voiced.
        final_fall: the last syllable lowers and lengthens (a finished turn); else F0 stays level (a pause to come).
    """
    rows = _num_rows(seconds)
    low = np.zeros(rows, dtype=bool)
    for begin, end in low_pitch:
        low[_num_rows(begin) : _num_rows(end)] = True
    sounds, strengths, starts = _syllables(rng, voice, rows, low, final_fall)
    track = _render(voice, sounds, rows, smooth_strength=strengths)
    track[:, F0] = _intonation(rng, voice, rows, starts, strengths, low, final_fall)
    return track


def backchannel_rows(rng: np.random.Generator, voice: Voice) -> np.ndarray:
    """ "Mm-hm": two nasal bumps of 250 to 500 ms in all, the second higher, with a breath between."""
    rows = int(rng.integers(26, 50))
    where = np.linspace(0, 1, rows)
    split = rng.uniform(0.42, 0.52)
    first = np.sin(np.pi * np.clip(where / split, 0, 1))
    second = np.sin(np.pi * np.clip((where - split) / (1 - split), 0, 1))
    bumps = np.maximum(first, second) ** 0.6
    track = np.empty((rows, len(VOICE_CHANNELS)), dtype=np.float32)
    track[:, VOICED] = 0.15 + 0.85 * bumps
    track[:, NOISE] = 0.12 * np.exp(-(((where - split) / 0.06) ** 2))
    track[:, FORMANT1 : FORMANT3 + 1] = np.multiply(_NASAL.formants, _scale(voice))
    track[:, ENERGY] = rng.uniform(0.55, 0.75) * (0.1 + 0.9 * bumps) * np.minimum(1, np.minimum(where, 1 - where) * 12)
    rise = rng.uniform(2.0, 4.5)
    semitones = -1.0 + rise / (1 + np.exp(-(where - split) / 0.06)) + rng.normal(0, 0.3)
    track[:, F0] = voice.f0 * 2 ** (semitones / 12)
    return track


def laugh_rows(rng: np.random.Generator, voice: Voice) -> np.ndarray:
    """Three to five breathy open bursts at about 5 Hz, high in pitch and falling, under one second."""
    bursts = int(rng.integers(3, 6))
    period = rng.uniform(0.165, 0.19)
    sounds = [(_LAUGH_VOWEL if part == 0 else _LAUGH_BREATH, period / 2) for _ in range(bursts) for part in range(2)]
    rows = _num_rows(bursts * period)
    decay = np.linspace(1, rng.uniform(0.5, 0.7), bursts)
    track = _render(voice, sounds, rows, smooth_strength=decay.repeat(2))
    track[:, ENERGY] *= rng.uniform(0.85, 1.0)
    semitones = np.linspace(rng.uniform(5, 8), rng.uniform(1, 3), rows)
    ripple = 1.2 * np.cos(2 * np.pi * (np.arange(rows) / VOICE_RATE / period - 0.25))
    track[:, F0] = voice.f0 * 2 ** ((semitones + ripple) / 12)
    return track


def filler_rows(rng: np.random.Generator, voice: Voice, seconds: float) -> np.ndarray:
    """ "Uhm": a long neutral vowel at level pitch that closes to a nasal, and fades after ``seconds``."""
    rows = _num_rows(seconds) + _FADE_ROWS
    vowel = _Sound(1.0, 0.0, _VOWELS[-1].formants, 0.7, _FILLER_VOWEL)
    longest = max(rows, _num_rows(2 * _FILLER_VOWEL))
    sounds = [(vowel, vowel.seconds), (_NASAL, longest / VOICE_RATE)]
    track = _render(voice, sounds, longest, smooth_strength=np.array([1.0, 1.1]))[:rows]
    slope = -0.6 * np.arange(rows) / VOICE_RATE + rng.normal(0, 0.3)
    track[:, F0] = voice.f0 * 2 ** ((slope - 0.3 * voice.f0_range) / 12)
    # the fade comes after the end: where someone is cut short, what was said before stays as it was
    track[-_FADE_ROWS:, ENERGY] *= np.linspace(1, 0, _FADE_ROWS)
    return track


def few_words_rows(rng: np.random.Generator, voice: Voice) -> np.ndarray:
    """A short phrase, as one puts in while the other searches for a word."""
    return speech_rows(rng, voice, float(rng.uniform(0.6, 1.2)), final_fall=True)


def silence_rows(voice: Voice, seconds: float) -> np.ndarray:
    """Nothing, with the articulators at rest."""
    track = np.zeros((_num_rows(seconds), len(VOICE_CHANNELS)), dtype=np.float32)
    track[:, F0] = voice.f0
    track[:, FORMANT1 : FORMANT3 + 1] = np.multiply(_VOWELS[-1].formants, _scale(voice))
    return track


def say(rng: np.random.Generator, voice: Voice, duration_s: float, *, kind: Utterance) -> np.ndarray:
    """One utterance in at least ``duration_s`` seconds: reactions have their own length and are followed by silence."""
    if kind is Utterance.SPEECH:
        return speech_rows(rng, voice, duration_s, final_fall=True)
    reaction = {Utterance.BACKCHANNEL: backchannel_rows, Utterance.LAUGH: laugh_rows}[kind](rng, voice)
    rest = max(duration_s - len(reaction) / VOICE_RATE, 0.0)
    return np.concatenate([reaction, silence_rows(voice, rest)])


def _num_rows(seconds: float) -> int:
    return round(seconds * VOICE_RATE)


def _scale(voice: Voice) -> np.ndarray:
    return voice.tract_scale * np.asarray(voice.vowel_shift)


def _syllables(
    rng: np.random.Generator, voice: Voice, rows: int, low: np.ndarray, final_fall: bool
) -> tuple[list[tuple[_Sound, float]], np.ndarray, np.ndarray]:
    """Sounds with seconds, strength per sound, and syllable start rows; together exactly ``rows`` long."""
    total = rows / VOICE_RATE
    num = max(1, round(total * voice.syllable_rate))
    lengths = np.exp(rng.normal(0, 0.22, num))
    lengths[-1] *= 1.35 if final_fall else 1.15
    lengths *= total / lengths.sum()
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    stress = np.where(rng.uniform(size=num) < 0.4, rng.uniform(0.9, 1.0, num), rng.uniform(0.6, 0.8, num))
    sounds: list[tuple[_Sound, float]] = []
    strengths: list[float] = []
    for start, length, strong in zip(starts, lengths, stress, strict=True):
        first, last = int(start * VOICE_RATE), int((start + length) * VOICE_RATE) + 1
        syllable = _one_syllable(rng, float(length), bool(low[max(first - 2, 0) : last + 2].any()))
        sounds += syllable
        strengths += [float(strong)] * len(syllable)
    return sounds, np.asarray(strengths), np.round(starts * VOICE_RATE).astype(int)


def _one_syllable(rng: np.random.Generator, length: float, sonorant: bool) -> list[tuple[_Sound, float]]:
    """Onset, vowel and an occasional nasal coda; the vowel takes what time is left."""
    vowel = _VOWELS[rng.integers(len(_VOWELS))]
    kind = rng.uniform()
    onset: list[tuple[_Sound, float]]
    if sonorant or kind < 0.4:
        sound = _SONORANTS[rng.integers(len(_SONORANTS))]
        onset = [(sound, sound.seconds)]
    elif kind < 0.68:
        sound = _FRICATIVES[rng.integers(len(_FRICATIVES))]
        onset = [(sound, sound.seconds)]
    elif kind < 0.93:
        sound = _BURSTS[rng.integers(len(_BURSTS))]
        onset = [(_Sound(0.0, 0.0, sound.formants, 0.0, _CLOSURE_SECONDS), _CLOSURE_SECONDS), (sound, sound.seconds)]
    else:
        onset = []
    coda = [(_NASAL, 0.05)] if rng.uniform() < 0.2 else []
    fixed = sum(seconds for _, seconds in onset + coda)
    squeeze = min(1.0, 0.55 * length / fixed) if fixed else 1.0
    onset = [(sound, seconds * squeeze) for sound, seconds in onset]
    coda = [(sound, seconds * squeeze) for sound, seconds in coda]
    return [*onset, (vowel, length - fixed * squeeze), *coda]


def _render(voice: Voice, sounds: list[tuple[_Sound, float]], rows: int, *, smooth_strength: np.ndarray) -> np.ndarray:
    """Targets held for their durations, then smoothed channel by channel; edges fade from and to silence."""
    ends = np.cumsum([seconds for _, seconds in sounds]) * VOICE_RATE
    index = np.searchsorted(ends, np.arange(rows) + 0.5).clip(max=len(sounds) - 1)
    targets = np.asarray(
        [
            (s.voiced, s.noise, 0.0, *np.multiply(s.formants, _scale(voice)), s.energy * strong)
            for (s, _), strong in zip(sounds, smooth_strength, strict=True)
        ]
    )
    track = targets[index]
    for channel, sigma in _SMOOTHING.items():
        mode = "constant" if channel == ENERGY else "nearest"
        track[:, channel] = gaussian_filter1d(track[:, channel], sigma, mode=mode)
    fade = np.minimum(1, (np.minimum(np.arange(rows), np.arange(rows)[::-1]) + 0.5) / 2.5)
    track[:, ENERGY] *= fade
    return track.astype(np.float32)


def _intonation(
    rng: np.random.Generator,
    voice: Voice,
    rows: int,
    starts: np.ndarray,
    strengths: np.ndarray,
    low: np.ndarray,
    final_fall: bool,
) -> np.ndarray:
    """F0 per row: declination in phrases, one accent per stressed syllable, low-pitch regions, final fall."""
    phrases = max(1, round(rows / VOICE_RATE / _PHRASE_SECONDS))
    phase = (np.arange(rows) * phrases / rows) % 1.0
    semitones = voice.f0_range * (0.35 - 0.6 * phase)
    where = np.arange(rows)
    for start in starts:
        height = voice.f0_range * rng.uniform(0.0, 0.9) if rng.uniform() < 0.5 else rng.normal(0, 0.3)
        semitones += height * np.exp(-(((where - start - 9) / 7.0) ** 2))
    tail = np.clip((where - rows + 22) / 20, 0, 1)
    semitones += tail * (-0.55 * voice.f0_range if final_fall else 0.25 * voice.f0_range)
    semitones = np.maximum(semitones, -0.85 * voice.f0_range)
    depth = gaussian_filter1d(_widen(low, 3).astype(float), 1.8)
    semitones = (1 - depth) * semitones - depth * _LOW_PITCH_DEPTH * voice.f0_range
    smooth = gaussian_filter1d(semitones, 1.5, mode="nearest")
    return voice.f0 * 2 ** (smooth / 12)


def _widen(mask: np.ndarray, rows: int) -> np.ndarray:
    """Grow a mask by ``rows`` on both sides, so that smoothing leaves its inside low."""
    return np.convolve(mask, np.ones(2 * rows + 1), mode="same") > 0
