import importlib.util

import numpy as np
import pytest
from scipy.signal import resample_poly

from avatar_lab.construct import build
from avatar_lab.events import silero
from avatar_lab.events.segments import overlap, total
from avatar_lab.events.silero import SileroVad
from avatar_lab.events.vad import VadRule
from avatar_lab.layout import Layout
from avatar_lab.world.graph import world_v1
from avatar_lab.world.simulate import simulate
from avatar_lab.world.voice import synthesize

RATE = 24_000
installed = pytest.mark.skipif(
    importlib.util.find_spec("silero_vad") is None, reason="silero-vad is not installed: extra prepare"
)


def test_absence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'avatar-lab\[prepare\]'"):
        SileroVad()


def test_levels_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="release <= threshold"):
        SileroVad(threshold=0.3, release=0.5)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("seconds", [0.0, 0.001, 1.7, 33.3])
def test_resampled_in_stretches_is_resampled_whole(rate: int, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    wav = np.random.default_rng(0).standard_normal(round(seconds * rate)).astype(np.float32)
    monkeypatch.setattr(silero, "PIECE", 50_000)
    stretches = [np.zeros(0, np.float32), *(each.reshape(-1) for each in silero._resampled(wav, rate))]
    whole = resample_poly(wav, 160, rate // 100).astype(np.float32) if len(wav) else wav
    expected = np.pad(whole, (0, -len(whole) % 512))
    np.testing.assert_array_equal(np.concatenate(stretches), expected)
    assert max(map(len, stretches)) <= 100_000


@installed
def test_silence_and_noise_hold_no_speech() -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(3 * RATE)
    for wav in (np.zeros(3 * RATE), noise, np.zeros(0)):
        assert SileroVad().speech(wav.astype(np.float32), RATE) == []
    with pytest.raises(ValueError, match="mono"):
        SileroVad().speech(np.zeros((10, 2), np.float32), RATE)


@installed
def test_configs_name_it_and_its_weights_are_part_of_its_identity() -> None:
    detector = build({"_target_": "avatar_lab.events.silero.SileroVad", "threshold": 0.6})
    assert detector.identity()["threshold"] == 0.6
    assert len(detector.identity()["silero"]) == 64
    assert detector.identity().keys() != VadRule().identity().keys()


@installed
@pytest.mark.ci
def test_agrees_with_the_energy_detector_on_voices_of_the_world() -> None:
    """Both over either; 0.94 to 0.96 per voice when written."""
    layout = Layout()
    both = either = 0.0
    for seed in (11, 12):
        dialogue = simulate(seed, 30.0, graph=world_v1(), held_out=True, layout=layout)
        for side in "ab":
            rng = dialogue.noise.generator("sound", side)
            wav = synthesize(dialogue.persons[side].voice, dialogue.tracks[side].voice_RQ, layout.sample_rate, rng)
            energy, network = (d.speech(wav, layout.sample_rate) for d in (VadRule(), SileroVad()))
            shared = total(overlap(energy, network))
            both += shared
            either += total(energy) + total(network) - shared
    assert both / either > 0.9


@installed
@pytest.mark.ci
def test_one_pass_is_the_same_every_time() -> None:
    wav = np.random.default_rng(1).standard_normal(RATE).astype(np.float32) * 0.1
    np.testing.assert_array_equal(silero._probabilities(wav, RATE), silero._probabilities(wav, RATE))
