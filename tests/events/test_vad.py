import numpy as np
import pytest

from avatar_lab.events.vad import VadRule, detect_speech

RATE = 24_000
SPEECH = [(1.0, 2.0), (2.3, 3.1), (6.0, 6.4), (9.0, 12.0)]


def _tone(spans: list[tuple[float, float]], seconds: float, *, rate: int = RATE, noise: float = 0.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    wav = noise * np.random.default_rng(0).standard_normal(len(time))
    for start, end in spans:
        inside = (time >= start) & (time < end)
        wav[inside] += 0.2 * np.sin(2 * np.pi * 160 * time[inside])
    return wav.astype(np.float32)


@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
@pytest.mark.parametrize("noise", [0.0, 1e-4, 3e-3])
def test_segments_are_exact_to_two_frames(rate: int, noise: float) -> None:
    found = detect_speech(_tone(SPEECH, 14.0, rate=rate, noise=noise), rate)
    np.testing.assert_allclose(found, SPEECH, atol=0.021)


def test_threshold_follows_the_noise() -> None:
    """Noise that an absolute threshold would take for speech is no speech, and speech above it still is."""
    loud = _tone([(8.0, 9.0)], 12.0, noise=0.01)
    np.testing.assert_allclose(detect_speech(loud, RATE), [(8.0, 9.0)], atol=0.021)


def test_silence_and_faint_sound_hold_no_speech() -> None:
    assert detect_speech(np.zeros(RATE * 3, np.float32), RATE) == []
    assert detect_speech(_tone([(1.0, 2.0)], 3.0) * 0.005, RATE) == []
    assert detect_speech(np.zeros(0, np.float32), RATE) == []


def test_short_gaps_are_bridged_and_clicks_dropped() -> None:
    found = detect_speech(_tone([(1.0, 1.5), (1.56, 2.0), (4.0, 4.03)], 6.0), RATE)
    np.testing.assert_allclose(found, [(1.0, 2.0)], atol=0.021)
    kept = detect_speech(_tone([(1.0, 1.5), (1.56, 2.0)], 6.0), RATE, VadRule(hangover=0.03))
    assert len(kept) == 2


def test_decisions_look_back_only() -> None:
    """What follows a segment by more than the hangover changes nothing about it."""
    early = _tone([(1.0, 2.0)], 12.0)
    late = _tone([(1.0, 2.0), (2.5, 9.0)], 12.0, noise=0.0)
    assert detect_speech(early, RATE)[0] == detect_speech(late, RATE)[0]


def test_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="mono"):
        detect_speech(np.zeros((100, 2), np.float32), RATE)
