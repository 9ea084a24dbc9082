"""Distortions of known size; agreement with independent definitions."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar_lab.evaluation.metric.speech_quality import f0_agreement, log_spectral_distance, si_sdr, stoi
from avatar_lab.evaluation.metric.voice import Voice
from tests.evaluation.metric.signals import ar1, defined, reason

SAMPLE_RATE = 16_000


def babble(seconds: float, seed: int = 0) -> np.ndarray:
    """Coloured noise with syllables of 4 Hz, (S,) float32."""
    num = round(seconds * SAMPLE_RATE)
    swell_S = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * np.arange(num) / SAMPLE_RATE)
    return (0.1 * swell_S * ar1(num, seed=seed, memory=0.9)[:, 0]).astype(np.float32)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.2, 5))
def test_a_gain_is_its_own_spectral_distance(gain: float) -> None:
    rng = np.random.default_rng(0)
    white_S = rng.normal(0, 0.1, SAMPLE_RATE)
    distance = log_spectral_distance(white_S, gain * white_S, SAMPLE_RATE)
    assert distance == pytest.approx(abs(20 * np.log10(gain)), abs=0.05)


def test_spectral_distance_of_two_draws_of_one_noise() -> None:
    """Bins differ like two log-exponentials, whose deviation is 10 pi / (sqrt(3) ln 10) = 7.9 dB."""
    left_S, right_S = (np.random.default_rng(seed).normal(0, 0.1, 3 * SAMPLE_RATE) for seed in (1, 2))
    distance = log_spectral_distance(left_S, right_S, SAMPLE_RATE)
    assert distance == pytest.approx(10 * np.pi / (np.sqrt(3) * np.log(10)), abs=0.3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(-10, 40), st.floats(0.1, 10))
def test_si_sdr_of_orthogonal_noise_whatever_the_gain(seed: int, decibels: float, gain: float) -> None:
    rng = np.random.default_rng(seed)
    reference_S, noise_S = (x_S - x_S.mean() for x_S in rng.normal(size=(2, 4000)))
    noise_S = noise_S - reference_S * (noise_S @ reference_S) / (reference_S @ reference_S)
    noise_S *= np.linalg.norm(reference_S) / np.linalg.norm(noise_S) * 10 ** (-decibels / 20)
    assert si_sdr(reference_S, gain * (reference_S + noise_S)) == pytest.approx(decibels, abs=1e-3)


def test_intelligibility_falls_with_noise() -> None:
    reference_S, noise_S = babble(3), babble(3, seed=5)
    assert stoi(reference_S, reference_S, SAMPLE_RATE) == pytest.approx(1, abs=1e-3)
    scores = [defined(stoi(reference_S, reference_S + gain * noise_S, SAMPLE_RATE)) for gain in (0.1, 1.0, 10.0)]
    assert scores[0] > scores[1] > scores[2]
    assert "0.4 s of speech" in reason(stoi(reference_S[:3000], reference_S[:3000], SAMPLE_RATE))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pystoi", None)
    with pytest.raises(ModuleNotFoundError, match="extra `metrics`"):
        stoi(babble(1), babble(1), SAMPLE_RATE)


def test_f0_agreement() -> None:
    rng = np.random.default_rng(3)
    true_R = rng.normal(0, 2, 400)
    made_R = true_R + 0.5
    made_R[300:] = np.nan
    found = defined(f0_agreement(voice(true_R), voice(made_R)))
    assert found.rmse == pytest.approx(0.5)
    assert found.correlation == pytest.approx(1)
    assert found.voicing == pytest.approx(0.75)
    flat = defined(f0_agreement(voice(true_R), voice(np.zeros(400))))
    assert flat.rmse == pytest.approx(np.sqrt(np.mean(true_R**2)))
    assert "F0 is constant" in reason(flat.correlation)
    assert "voiced in both" in reason(f0_agreement(voice(true_R), voice(np.full(400, np.nan))))


def voice(f0_R: np.ndarray) -> Voice:
    return Voice(f0_R=f0_R, level_R=np.zeros(len(f0_R)))


def test_no_number_without_grounds() -> None:
    wave_S = babble(1)
    broken_S = np.where(np.arange(len(wave_S)) == 9, np.nan, wave_S)
    measures = [
        lambda x_S, y_S: log_spectral_distance(x_S, y_S, SAMPLE_RATE),
        si_sdr,
        lambda x_S, y_S: stoi(x_S, y_S, SAMPLE_RATE),
    ]
    for measure in measures:
        assert "reference is silent" in reason(measure(0 * wave_S, wave_S))
        assert "made sound is silent" in reason(measure(wave_S, 0 * wave_S))
        assert "made sound is not finite" in reason(measure(wave_S, broken_S))
        with pytest.raises(ValueError, match="shapes differ"):
            measure(wave_S, wave_S[:-1])
    assert "no distortion" in reason(si_sdr(wave_S, 2 * wave_S))
    assert "are needed" in reason(log_spectral_distance(wave_S[:300], wave_S[:300], SAMPLE_RATE))
