"""Analytic mouth and voice: the planted lag and correlation come back."""

import numpy as np
import pytest

from avatar_lab.evaluation.lip_sync import envelope, lip_sync, speech_frames

FPS = 25.0


def syllables(num: int, seed: int = 0) -> np.ndarray:
    """Envelope with syllable-like bumps, (P,)."""
    rng = np.random.default_rng(seed)
    bumps = np.convolve(rng.random(num + 4) ** 3, np.hanning(7)[1:-1], mode="valid")
    return bumps[:num]


@pytest.mark.parametrize("lag_frames", [-2, 0, 3])
def test_planted_lag_is_recovered(lag_frames: int) -> None:
    sound_P = syllables(500)
    mouth_P = np.roll(sound_P, lag_frames) * 0.7 + 0.1
    result = lip_sync(mouth_P, sound_P, np.ones(500, dtype=bool), FPS)
    assert result is not None
    assert result.correlation == pytest.approx(1.0, abs=1e-3)
    assert result.lag_ms == pytest.approx(lag_frames * 40, abs=3)


def test_noise_lowers_correlation_and_foreign_voice_scores_less() -> None:
    sound_P = syllables(500)
    noise = np.random.default_rng(1).normal(0, sound_P.std(), 500)
    noisy = lip_sync(sound_P + noise, sound_P, np.ones(500, dtype=bool), FPS)
    foreign = lip_sync(syllables(500, seed=9), sound_P, np.ones(500, dtype=bool), FPS)
    assert noisy is not None
    assert foreign is not None
    assert noisy.correlation == pytest.approx(np.sqrt(0.5), abs=0.08)
    assert foreign.correlation < 0.35


def test_only_speech_counts() -> None:
    sound_P, mouth_P = syllables(500), syllables(500)
    mouth_P[250:] = syllables(250, seed=3)  # the mouth chews while the avatar is silent
    speaking_P = speech_frames([(0.0, 9.5)], 500, FPS)
    result = lip_sync(mouth_P, sound_P, speaking_P, FPS)
    assert result is not None
    assert result.correlation > 0.99


def test_a_still_face_or_silence_is_undefined() -> None:
    sound_P = syllables(500)
    everywhere_P = np.ones(500, dtype=bool)
    assert lip_sync(np.full(500, 0.3), sound_P, everywhere_P, FPS) is None
    assert lip_sync(sound_P, np.zeros(500), everywhere_P, FPS) is None
    assert lip_sync(sound_P, sound_P, np.zeros(500, dtype=bool), FPS) is None


def test_envelope_is_rms_per_frame() -> None:
    audio_S = np.concatenate([np.full(960, 0.5), np.full(960, -0.25), np.zeros(100)]).astype(np.float32)
    assert envelope(audio_S, 960).tolist() == pytest.approx([0.5, 0.25])
