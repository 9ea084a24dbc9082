import signal
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_prep.blob import Blob
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.media.client import MediaClient, MediaLimits
from tests.data_prep.recordings import RATE, ramp, tones, write_video


@pytest.fixture(scope="module")
def media() -> Iterator[MediaClient]:
    with MediaClient(MediaLimits(timeout=30.0)) as client:
        yield client


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, ramp(4.0), wav=tones(4.0, [(1.0, 2.0)]))
    return path


def _levels(media: MediaClient, path: Path, indices: np.ndarray, chunk: int = 16) -> np.ndarray:
    video, _ = media.probe(Blob.of(path))
    assert video is not None
    return np.concatenate(list(media.frames(Blob.of(path), indices, video, chunk=chunk))).mean((1, 2, 3))


def test_probe_reports_both_streams(media: MediaClient, clip: Path) -> None:
    video, audio = media.probe(Blob.of(clip))
    assert video is not None
    assert audio is not None
    assert (video.width, video.height, video.fps, video.codec) == (32, 32, Fraction(25), "h264")
    np.testing.assert_allclose(video.pts_P, np.arange(100) / 25, atol=1e-6)
    assert video.end == pytest.approx(4.0)
    assert (audio.sample_rate, audio.channels) == (RATE, 1)
    assert audio.end == pytest.approx(4.0, abs=0.1)


def test_decord_and_pyav_give_the_same_frames(media: MediaClient, clip: Path) -> None:
    wanted = np.asarray([0, 0, 3, 4, 5, 5, 5, 40, 99])
    with MediaClient(MediaLimits(), force_pyav=True) as plain:
        np.testing.assert_allclose(_levels(media, clip, wanted, 4), _levels(plain, clip, wanted, 4), atol=1.5)
    np.testing.assert_allclose(_levels(media, clip, wanted), 10 * wanted / 25, atol=2.0)


def test_audio_keeps_its_time_through_resampling(media: MediaClient, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, tones(3.0, [(1.0, 2.0)], sample_rate=16_000), 16_000, "FLOAT")
    ((wav, start),) = media.audio(Blob.of(path), sample_rate=RATE)
    assert start == 0.0
    assert abs(len(wav) - 3 * RATE) <= 2
    loud = np.abs(wav) > 0.02
    assert np.flatnonzero(loud)[[0, -1]] / RATE == pytest.approx([1.0, 2.0], abs=0.01)


def test_variable_frame_rate_is_read_from_timestamps(media: MediaClient, tmp_path: Path) -> None:
    path = tmp_path / "variable.mp4"
    pts = [0, 40, 80, 240, 280, 1000, 1040]
    write_video(path, ramp(7 / 25), pts=pts, time_base=Fraction(1, 1000))
    video, _ = media.probe(Blob.of(path))
    assert video is not None
    np.testing.assert_allclose(video.pts_P, np.asarray(pts) / 1000, atol=1e-3)


def test_header_limits_are_checked_before_decoding(clip: Path) -> None:
    for limits in (MediaLimits(max_pixels=100), MediaLimits(max_frames=50), MediaLimits(max_seconds=2.0)):
        with MediaClient(limits) as client, pytest.raises(SkipRecording) as caught:
            client.probe(Blob.of(clip))
        assert caught.value.reason is SkipReason.TOO_LARGE


def test_hanging_decoder_is_killed_and_replaced(clip: Path) -> None:
    with MediaClient(MediaLimits(timeout=1.5)) as client:
        client.probe(Blob.of(clip))
        process = client._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(SkipRecording) as caught:
            client.probe(Blob.of(clip))
        assert caught.value.reason is SkipReason.TIMEOUT
        assert process.poll() is not None
    with MediaClient(MediaLimits()) as client:
        client.probe(Blob.of(clip))
        assert client._process is not None
        client._process.kill()
        with pytest.raises(SkipRecording, match="crashed"):
            client.probe(Blob.of(clip))
        assert client.probe(Blob.of(clip))[0] is not None


def test_abandoned_answers_do_not_reach_the_next_request(media: MediaClient, clip: Path) -> None:
    video, _ = media.probe(Blob.of(clip))
    assert video is not None
    stream = media.frames(Blob.of(clip), np.arange(100), video, chunk=8)
    next(stream)
    stream.close()
    assert _levels(media, clip, np.asarray([50]))[0] == pytest.approx(20, abs=2)


def test_large_frames_come_in_small_chunks(clip: Path) -> None:
    with MediaClient(MediaLimits(chunk_bytes=5 * 32 * 32 * 3)) as client:
        video, _ = client.probe(Blob.of(clip))
        assert video is not None
        sizes = [len(chunk) for chunk in client.frames(Blob.of(clip), np.arange(12), video, chunk=100)]
    assert sizes == [5, 5, 2]
