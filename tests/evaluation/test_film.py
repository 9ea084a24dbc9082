"""Films play in browsers: H.264 and stereo AAC, enlarged, as long as the media."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from avatar_lab.evaluation.film import mix, write_side_by_side
from avatar_lab.evaluation.media import Media
from avatar_lab.evaluation.recording import read_recording
from avatar_lab.layout import Layout

LAYOUT = Layout()


def media(colour: int, tone: float, seconds: float = 2.0) -> Media:
    frames, samples = round(seconds * LAYOUT.fps), round(seconds * LAYOUT.sample_rate)
    time_S = np.arange(samples) / LAYOUT.sample_rate
    return Media(
        video_PHWC=np.full((frames, 64, 64, 3), colour, np.uint8),
        audio_S=(0.3 * np.sin(2 * np.pi * tone * time_S)).astype(np.float32),
    )


def test_side_by_side_film(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write_side_by_side(path, media(40, 220), media(200, 440), LAYOUT, seconds=1.2)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.height, video.width) == (256, 520)
        assert video.pix_fmt == "yuv420p"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 30
    assert frames[10][128, 100].mean() == pytest.approx(40, abs=6)
    assert frames[10][128, 400].mean() == pytest.approx(200, abs=6)
    assert not list(tmp_path.glob("*.partial"))


def test_each_voice_is_nearer_to_its_own_side() -> None:
    left_S, right_S = np.ones(4, np.float32) * 0.5, np.zeros(6, np.float32)
    stereo_2S = mix(left_S, right_S)
    assert stereo_2S.shape == (2, 4)
    assert stereo_2S[0, 0] > stereo_2S[1, 0] > 0


def test_recordings_are_read_on_the_clock_of_the_layout(tmp_path: Path) -> None:
    stem = tmp_path / "x_speaker1"
    with av.open(str(stem.with_name(stem.name + ".mp4")), "w") as container:
        stream = container.add_stream("libx264", rate=50)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        for index in range(100):
            picture = np.full((32, 32, 3), 2 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    soundfile.write(stem.with_name(stem.name + ".wav"), np.zeros(48_000 * 2), 48_000)
    found = read_recording(stem, LAYOUT, height=16, width=16, seconds=1.0)
    assert found.video_PHWC.shape == (25, 16, 16, 3)
    assert len(found.audio_S) == LAYOUT.sample_rate
    brightness = found.video_PHWC.mean((1, 2, 3))
    assert np.diff(brightness).mean() == pytest.approx(4, abs=0.5)  # every second frame of 50 fps
    with pytest.raises(ValueError, match="there is no"):
        read_recording(tmp_path / "y", LAYOUT, height=16, width=16, seconds=1.0)
