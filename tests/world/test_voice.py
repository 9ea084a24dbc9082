"""Voices: F0 is heard as asked, low-pitch regions are low, reactions have their lengths, silence is silent."""

import time

import numpy as np
import pytest

from avatar_lab.layout import Layout
from avatar_lab.world.speech import (
    Utterance,
    backchannel_rows,
    laugh_rows,
    say,
    silence_rows,
    speech_rows,
)
from avatar_lab.world.tracks import VOICE_CHANNELS, VOICE_RATE
from avatar_lab.world.voice import ENERGY, F0, FORMANT1, NOISE, VOICED, Voice, synthesize

RATE = Layout().sample_rate


def heard_f0(wave: np.ndarray, expected: float) -> float:
    """F0 by the peak of the autocorrelation within an octave around ``expected``."""
    spectrum = np.fft.rfft(wave, 2 * len(wave))
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[: len(wave)]
    lags = np.arange(int(RATE / expected / 1.41), int(RATE / expected * 1.41) + 1)
    return RATE / lags[correlation[lags].argmax()]


def vowel_rows(voice: Voice, f0: float, seconds: float = 0.4) -> np.ndarray:
    rows = silence_rows(voice, seconds)
    rows[:, VOICED], rows[:, ENERGY], rows[:, F0] = 1, 0.8, f0
    return rows


@pytest.mark.parametrize("seed", range(6))
def test_f0_is_heard(seed: int) -> None:
    rng = np.random.default_rng(seed)
    voice = Voice.sample(rng)
    for factor in (0.8, 1.0, 1.3):
        wave = synthesize(voice, vowel_rows(voice, voice.f0 * factor), RATE, rng)
        cents = 1200 * np.log2(heard_f0(wave, voice.f0 * factor) / (voice.f0 * factor))
        assert abs(cents) < 25


def test_formants_are_heard() -> None:
    rng = np.random.default_rng(1)
    voice = Voice.sample(rng)
    rows = vowel_rows(voice, 100.0)
    open_rows, close_rows = rows.copy(), rows.copy()
    open_rows[:, FORMANT1], close_rows[:, FORMANT1] = 800, 300
    strongest = []
    for variant in (open_rows, close_rows):
        power = np.abs(np.fft.rfft(synthesize(voice, variant, RATE, rng))) ** 2
        hertz = np.fft.rfftfreq(len(variant) * RATE // VOICE_RATE, 1 / RATE)
        band = hertz < 1100
        strongest.append((hertz[band] * power[band]).sum() / power[band].sum())
    assert strongest[0] > 500 > strongest[1]


@pytest.mark.parametrize("seed", range(5))
def test_low_pitch_is_below_the_26th_percentile(seed: int) -> None:
    rng = np.random.default_rng(seed)
    voice = Voice.sample(rng)
    usual = np.concatenate([speech_rows(rng, voice, 2.5, final_fall=bool(i % 2)) for i in range(30)])
    percentile = np.percentile(usual[usual[:, VOICED] > 0.5, F0], 26)
    rows = speech_rows(rng, voice, 2.0, low_pitch=[(0.8, 1.0), (1.4, 1.6)], final_fall=False)
    for start, end in ((80, 100), (140, 160)):
        assert rows[start:end, F0].max() < percentile
        assert rows[start:end, VOICED].min() > 0.5
    assert np.median(rows[:60, F0]) > percentile
    wave = synthesize(voice, rows, RATE, rng)
    low = wave[int(0.82 * RATE) : int(0.98 * RATE)]
    assert heard_f0(low, float(rows[82:98, F0].mean())) < percentile


def test_final_fall_lowers_the_end() -> None:
    voice = Voice.sample(np.random.default_rng(0))
    ends = {
        fall: np.mean(
            [speech_rows(np.random.default_rng(s), voice, 1.5, final_fall=fall)[-8:, F0].mean() for s in range(20)]
        )
        for fall in (True, False)
    }
    assert ends[True] < 0.95 * ends[False]


@pytest.mark.parametrize("seed", range(8))
def test_reactions_have_their_lengths_and_differ(seed: int) -> None:
    rng = np.random.default_rng(seed)
    voice = Voice.sample(rng)
    nasal, laugh = backchannel_rows(rng, voice), laugh_rows(rng, voice)
    assert 0.25 <= len(nasal) / VOICE_RATE <= 0.5
    assert 0.45 <= len(laugh) / VOICE_RATE <= 1.0
    assert nasal[:, FORMANT1].max() < 400 * voice.tract_scale < laugh[:, FORMANT1].max()
    assert laugh[:, NOISE].mean() > 2 * nasal[:, NOISE].mean()
    assert 0.7 < np.median(nasal[:, F0]) / voice.f0 < 1.4
    energy = nasal[:, ENERGY]
    peaks = np.flatnonzero((energy[1:-1] > energy[:-2]) & (energy[1:-1] >= energy[2:]))
    assert len(peaks) == 2, "mm-hm has two bumps"


def test_speech_has_syllables() -> None:
    rng = np.random.default_rng(3)
    voice = Voice.sample(rng)
    energy = np.concatenate([speech_rows(rng, voice, 2.0, final_fall=True)[:, ENERGY] for _ in range(20)])
    power = np.abs(np.fft.rfft(energy - energy.mean())) ** 2
    hertz = np.fft.rfftfreq(len(energy), 1 / VOICE_RATE)
    rhythm, fast = power[(hertz > 2) & (hertz < 8)].sum(), power[hertz > 12].sum()
    assert rhythm > 5 * fast


def test_silence_is_a_faint_floor_and_sound_stays_in_range() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        voice = Voice.sample(rng)
        assert np.abs(synthesize(voice, silence_rows(voice, 1.0), RATE, rng)).max() < 5e-4
        rows = np.concatenate([speech_rows(rng, voice, 2.0, final_fall=True), laugh_rows(rng, voice)])
        wave = synthesize(voice, rows, RATE, rng)
        assert wave.dtype == np.float32
        assert len(wave) == len(rows) * RATE // VOICE_RATE
        assert np.isfinite(wave).all()
        assert 0.05 < np.abs(wave).max() < 1


def test_same_seed_same_sound_other_seed_other_person() -> None:
    def sound(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        voice = Voice.sample(rng)
        return synthesize(voice, say(rng, voice, 1.0, kind=Utterance.SPEECH), RATE, rng)

    assert np.array_equal(sound(4), sound(4))
    assert not np.allclose(sound(4), sound(5))


@pytest.mark.parametrize("kind", list(Utterance))
def test_say_fills_the_time(kind: Utterance) -> None:
    rng = np.random.default_rng(0)
    rows = say(rng, Voice.sample(rng), 1.2, kind=kind)
    assert rows.shape == (120, len(VOICE_CHANNELS))
    assert rows.dtype == np.float32


def test_other_sample_rates_and_bad_rows() -> None:
    rng = np.random.default_rng(0)
    voice = Voice.sample(rng)
    assert len(synthesize(voice, vowel_rows(voice, 120.0), 16_000, rng)) == 6400
    with pytest.raises(ValueError, match="not a multiple"):
        synthesize(voice, vowel_rows(voice, 120.0), 22_050 + 1, rng)
    with pytest.raises(ValueError, match="voice rows"):
        synthesize(voice, np.zeros((10, 3)), RATE, rng)


def test_synthesis_is_fast() -> None:
    rng = np.random.default_rng(0)
    voice = Voice.sample(rng)
    rows = np.concatenate([speech_rows(rng, voice, 2.5, final_fall=True) for _ in range(8)])
    synthesize(voice, rows, RATE, rng)
    start = time.perf_counter()
    synthesize(voice, rows, RATE, rng)
    assert time.perf_counter() - start < 1.0, "20 s of speech; 0.03 s on an idle core"
