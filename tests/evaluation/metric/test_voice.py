"""Voices with planted F0, level and entrainment."""

import numpy as np
import pytest

from avatar_lab.evaluation.metric.prosody import reaction_prosody, voice_identity
from avatar_lab.evaluation.metric.voice import RATE, Voice, semitones, track_voice
from tests.evaluation.metric.signals import defined, reason

SAMPLE_RATE = 24_000


def sung(hertz: float, seconds: float, level: float = 0.2, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """A voice-like tone of six harmonics."""
    time_S = np.arange(round(seconds * sample_rate)) / sample_rate
    wave_S = sum(np.sin(2 * np.pi * k * hertz * time_S) / k for k in range(1, 7))
    return (level * wave_S / np.sqrt(np.mean(np.square(wave_S)))).astype(np.float32)


@pytest.mark.parametrize(("hertz", "sample_rate"), [(95.0, 24_000), (150.0, 16_000), (310.0, 48_000)])
def test_f0_of_a_tone(hertz: float, sample_rate: int) -> None:
    voice = track_voice(sung(hertz, 1.0, sample_rate=sample_rate), sample_rate)
    middle = voice.during(0.2, 0.9)
    assert np.isfinite(middle.f0_R).all()
    assert middle.f0_R == pytest.approx(semitones(hertz), abs=0.1)
    assert middle.level_R == pytest.approx(20 * np.log10(0.2), abs=0.5)


def test_pieces_join_and_silence_has_no_f0() -> None:
    wave_S = np.concatenate([np.zeros(3 * SAMPLE_RATE), sung(200, 31.0), np.zeros(SAMPLE_RATE)]).astype(np.float32)
    voice = track_voice(wave_S, SAMPLE_RATE)
    assert len(voice.f0_R) == len(voice.level_R) == 35 * RATE
    assert np.isnan(voice.f0_R[:295]).all()
    assert voice.f0_R[310:3390] == pytest.approx(semitones(200), abs=0.1)
    assert np.isnan(voice.f0_R[3420:]).all()
    noise_S = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    assert track_voice(noise_S, SAMPLE_RATE).voiced_seconds < 0.25
    assert len(track_voice(noise_S[:100], SAMPLE_RATE).f0_R) == 0


def test_what_cannot_be_tracked_is_refused() -> None:
    wave_S = sung(200, 0.5)
    with pytest.raises(ValueError, match="mono"):
        track_voice(np.stack([wave_S, wave_S]), SAMPLE_RATE)
    with pytest.raises(ValueError, match="not finite"):
        track_voice(np.where(np.arange(len(wave_S)) == 3, np.nan, wave_S), SAMPLE_RATE)
    with pytest.raises(ValueError, match="resample"):
        track_voice(wave_S, 22_050)


def planted(follow: float, seed: int = 0, reactions: int = 40) -> tuple[list[tuple[float, float]], Voice, Voice]:
    """A user whose pitch and level wander from stretch to stretch, and reactions that take up ``follow`` of it."""
    rng = np.random.default_rng(seed)
    frames = (reactions + 1) * 4 * RATE
    user_f0, user_level = np.full(frames, np.nan), np.full(frames, -90.0)
    own_f0, own_level = user_f0.copy(), user_level.copy()
    spans = []
    for k in range(reactions):
        pitch, loud, own_pitch, own_loud = rng.normal(0, 2, 4)
        start = 4 * k + 3
        user_f0[(start - 2) * RATE : start * RATE - 20], user_level[(start - 2) * RATE : start * RATE] = (
            pitch,
            loud - 20,
        )
        span = slice(start * RATE, start * RATE + 40)
        own_f0[span] = follow * pitch + (1 - follow) * own_pitch + 5
        own_level[span] = follow * loud + (1 - follow) * own_loud - 26
        spans.append((float(start), start + 0.4))
    return spans, Voice(f0_R=own_f0, level_R=own_level), Voice(f0_R=user_f0, level_R=user_level)


def test_planted_entrainment() -> None:
    full = defined(reaction_prosody(*planted(1.0)))
    assert full.f0_r == pytest.approx(1)
    assert full.level_r == pytest.approx(1)
    assert full.f0_shift == pytest.approx(5)
    assert full.level_shift == pytest.approx(-6)
    assert full.reactions == 40
    half = defined(reaction_prosody(*planted(0.5, reactions=200)))
    assert half.f0_r == pytest.approx(np.sqrt(0.5), abs=0.1)
    assert abs(defined(reaction_prosody(*planted(0.0, reactions=200))).f0_r) < 0.2


def test_the_anchors_voice_is_told_from_another() -> None:
    wave_S = np.concatenate([sung(150, 2.0), np.zeros(SAMPLE_RATE, np.float32), sung(200, 1.0)])
    own = track_voice(wave_S, SAMPLE_RATE)
    anchor = track_voice(sung(150, 3.0), SAMPLE_RATE)
    assert voice_identity([(0.1, 1.9)], own, anchor) == pytest.approx(0, abs=0.1)
    assert voice_identity([(3.1, 3.9)], own, anchor) == pytest.approx(semitones(200), abs=0.15)


def test_no_number_without_grounds() -> None:
    spans, own, user = planted(0.5)
    assert "5 reactions" in reason(reaction_prosody(spans[:5], own, user))
    silent = Voice(f0_R=np.full_like(own.f0_R, np.nan), level_R=own.level_R)
    assert "0 reactions" in reason(reaction_prosody(spans, silent, user))
    monotone = Voice(f0_R=np.where(np.isnan(own.f0_R), np.nan, 4.0), level_R=own.level_R)
    assert "all alike" in reason(defined(reaction_prosody(spans, monotone, user)).f0_r)
    assert "in the anchor" in reason(voice_identity(spans, own, silent))
    assert "in the reactions" in reason(voice_identity([], own, user))
