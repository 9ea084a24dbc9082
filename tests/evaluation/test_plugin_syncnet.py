"""SyncNet: planted lags are found, windows are those of speech, and the network takes the public file's shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avatar_lab.evaluation.finding import Missing
from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.plugin import syncnet
from avatar_lab.evaluation.plugin.speech import RATE
from avatar_lab.evaluation.plugin.syncnet import VARIABLE, VSHIFT, SyncNetDistance, measure_sync, sync_of
from avatar_lab.evaluation.plugin.syncnet_network import CEPSTRA, SIDE, STEPS, WINDOW, SyncNet
from avatar_lab.evaluation.plugin.syncnet_windows import FPS, at_25_fps, sound_windows, speaking_windows
from avatar_lab.evaluation.plugin.traces import watch
from tests.evaluation.planted import LAYOUT
from tests.evaluation.takes import clip, needs, silence, take, voices

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("lag", [-15, -4, 0, 3, 15])
def test_planted_lags_are_found(lag: int) -> None:
    """Independent embeddings of unit variance in E dimensions are sqrt(2 E) apart."""
    sound_TE = RNG.standard_normal((300, 64))
    starts_N = np.arange(VSHIFT, 300 - VSHIFT, 2)
    mouth_NE = sound_TE[starts_N - lag] + 0.1 * RNG.standard_normal((len(starts_N), 64))
    found = sync_of(mouth_NE, sound_TE, starts_N)
    assert found.lag_ms == lag * 40
    assert found.distance == pytest.approx(0.8, rel=0.1)
    assert found.confidence == pytest.approx(np.sqrt(2 * 64) - 0.8, rel=0.05)
    assert found.windows == len(starts_N)


def test_a_mouth_that_goes_with_nothing_has_no_confidence() -> None:
    sound_TE, starts_N = RNG.standard_normal((300, 64)), np.arange(VSHIFT, 300 - VSHIFT)
    assert sync_of(RNG.standard_normal((len(starts_N), 64)), sound_TE, starts_N).confidence < 0.3


def test_the_lags_are_pinned() -> None:
    """Confidence is a median over lags: more of them give another number."""
    assert VSHIFT == 15


def test_windows_lie_in_speech() -> None:
    starts_N = speaking_windows([(0.0, 1.0), (2.0, 3.0)], 100, margin=15, at_most=200)
    assert starts_N.tolist() == [*range(15, FPS - WINDOW + 1), *range(2 * FPS, 3 * FPS - WINDOW + 1)]
    assert len(speaking_windows([(0.0, 4.16)], 100, margin=15, at_most=200)) == 100 - 2 * 15
    many_N = speaking_windows([(0.0, 60.0)], 60 * FPS, margin=15, at_most=200)
    assert len(many_N) == 200
    assert np.ptp(np.diff(many_N)) <= 1, "spread evenly"
    assert not len(speaking_windows([], 100, margin=15, at_most=200))
    assert not len(speaking_windows([(0.0, 0.1)], 0, margin=15, at_most=200))


def test_frames_of_other_rates_are_picked_by_time() -> None:
    frames_PHWC = np.arange(60, dtype=np.uint8)[:, None, None, None]
    assert at_25_fps(frames_PHWC, 25.0)[:, 0, 0, 0].tolist() == list(range(60))
    assert at_25_fps(frames_PHWC, 30.0)[:6, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 6]
    assert len(at_25_fps(frames_PHWC, 30.0)) == 50


def test_the_network_takes_the_public_files_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = SyncNet().eval()
    state = network.state_dict()
    assert state["netcnnlip.0.weight"].shape == (96, 3, 5, 7, 7)
    assert state["netcnnlip.18.weight"].shape == (512, 256, 1, 6, 6)
    assert state["netcnnaud.18.weight"].shape == (512, 256, 5, 4)
    assert state["netfclip.3.weight"].shape == state["netfcaud.3.weight"].shape == (1024, 512)
    path = tmp_path / "syncnet_v2.model"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    with torch.inference_mode():
        cepstra_N1MT = torch.randn(2, 1, CEPSTRA, STEPS)
        heard = SyncNet.load(path).hear(cepstra_N1MT)
        assert torch.equal(heard, network.hear(cepstra_N1MT))
        assert network.see(torch.randn(1, 3, WINDOW, SIDE, SIDE)).shape == heard[:1].shape == (1, 1024)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"give syncnet_v2\.model"):
        SyncNet.load(path)
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="holds no weights of SyncNet"):
        SyncNet.load(path)
    monkeypatch.setenv(VARIABLE, str(path))
    found, _ = watch([SyncNetDistance()], take(silence(2)))
    assert all(isinstance(one.value, Missing) and "holds no weights" in one.value.reason for one in found)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    found, _ = watch([SyncNetDistance()], take(silence(2)))
    assert all(isinstance(one.value, Missing) and "is no file" in one.value.reason for one in found)


@needs("python_speech_features")
def test_sound_windows_go_with_frames() -> None:
    """A click in the middle of frame 30 is in the five windows that hold the frame, and in no others."""
    wave_S = np.zeros(3 * RATE, np.float32)
    wave_S[int(30.5 / FPS * RATE)] = 0.9
    windows_TMS = sound_windows(wave_S, 1000, "")
    assert windows_TMS.shape[1:] == (CEPSTRA, STEPS)
    assert 3 * FPS - WINDOW <= len(windows_TMS) <= 3 * FPS - WINDOW + 1
    loud_T = windows_TMS[:, 0].max(1) > windows_TMS[0, 0].max() + 1
    assert np.flatnonzero(loud_T).tolist() == list(range(30 - WINDOW + 1, 31))
    assert len(sound_windows(wave_S, 7, "")) == 7
    assert len(sound_windows(wave_S[:100], 7, "")) == 0


@needs("dlib", "python_speech_features")
@pytest.mark.ci
def test_a_network_without_training_goes_the_whole_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights there is a number for a talking man, and none for one who is silent or has no face."""
    monkeypatch.setattr(syncnet, "MAX_WINDOWS", 25)
    torch.manual_seed(0)
    network, video_PHWC, voice_S = SyncNet().eval(), clip("carphone_pristine"), voices(11)[0]
    sound_S = voice_S[: round(len(video_PHWC) / 25 * LAYOUT.sample_rate)]
    found = measure_sync(network, take(sound_S, video_PHWC=video_PHWC, speech=[(0.0, 4.8)]))
    print(found)
    assert not isinstance(found, Undefined)
    assert found.windows == 25
    assert found.distance > 0
    assert found.confidence >= 0
    quiet = measure_sync(network, take(sound_S, video_PHWC=video_PHWC, speech=[(0.0, 1.0)]))
    assert isinstance(quiet, Undefined)
    assert "windows of speech" in quiet.reason
    faceless = measure_sync(network, take(sound_S, video_PHWC=np.zeros_like(video_PHWC), speech=[(0.0, 4.8)]))
    assert isinstance(faceless, Undefined)
    assert "no face" in faceless.reason
