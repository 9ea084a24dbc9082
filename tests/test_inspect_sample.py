"""Prepared samples played back: who is where, in which ear, when; and the lane of events under the picture."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from avatar_lab import inspect_sample
from avatar_lab.data.shards import ShardReader
from avatar_lab.evaluation.event_lane import COLOURS, CURSOR, LEFT_PIXELS, PAGE_SECONDS, RIGHT_PIXELS, EventLane, Row
from avatar_lab.inspect_sample import InspectConfig, listing, run
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import write_pair
from tests.data_prep.test_prepare import run as prepare

Film = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inspected")
    write_pair(root / "recordings", "d0", seconds=12.0)
    prepare(root / "recordings", root / "shards")
    return root / "shards"


@pytest.fixture(autouse=True)
def codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations may only name the project's own classes; these stand in for the codecs they build."""
    monkeypatch.setattr(inspect_sample, "build", lambda codec: codec)


def config(shards: Path, out: Path, **changes: object) -> InspectConfig:
    known: dict = {
        "shards": str(shards),
        "sample": "d0",
        "side": "a",
        "out": str(out),
        "start": 0.0,
        "seconds": 60.0,
        "codec": {"audio_codec": FakeAudio(), "video_codec": FakeVideo()},
    }
    return InspectConfig(**known | changes)


def watch(path: Path) -> Film:
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    return frames, sound


def level(sound_S: np.ndarray, start: float, end: float) -> float:
    return float(np.abs(sound_S[round(start * 24_000) : round(end * 24_000)]).mean())


@pytest.mark.ci
@pytest.mark.parametrize(("side", "brightness"), [("a", (70, 90)), ("b", (90, 70))])
def test_agent_is_left_and_user_right_in_picture_and_sound(
    side: str, brightness: tuple[int, int], shards: Path, tmp_path: Path
) -> None:
    run(config(shards, tmp_path / "clip.mp4", side=side))
    frames, sound = watch(tmp_path / "clip.mp4")
    assert len(frames) == 300
    half = frames.shape[2] // 2
    at_5 = frames[125, :200].astype(float)
    assert (at_5[:, : half - 20].mean(), at_5[:, half + 20 :].mean()) == pytest.approx(brightness, abs=5)
    own, other = (0, 1) if side == "a" else (1, 0)
    assert level(sound[own], 1.0, 2.0) > 0.02 > 20 * level(sound[other], 1.0, 2.0)  # a speaks until 4 s
    assert level(sound[other], 7.0, 9.0) > 0.02 > 20 * level(sound[own], 7.0, 9.0)  # b from 6.4 s on


@pytest.mark.ci
def test_a_part_begins_where_it_is_asked_to(shards: Path, tmp_path: Path) -> None:
    run(config(shards, tmp_path / "whole.mp4"))
    run(config(shards, tmp_path / "part.mp4", start=5.0, seconds=3.0))
    (whole, _), (part, sound) = watch(tmp_path / "whole.mp4"), watch(tmp_path / "part.mp4")
    assert len(part) == 75
    difference = np.abs(part[:, :250].astype(float) - whole[125:200, :250].astype(float))
    assert difference.mean() < 2.0
    assert level(sound[0], 0.1, 0.9) > 0.02 > level(sound[0], 1.2, 2.9)  # a's last burst ends at 6 s


def test_samples_are_listed_and_mistakes_are_said(shards: Path, tmp_path: Path) -> None:
    (line,) = listing(ShardReader(shards))
    assert line.startswith("train  d0")
    assert "12.0 s" in line
    with pytest.raises(ValueError, match=r"no sample 'd00' \(did you mean 'd0'\?\)"):
        run(config(shards, tmp_path / "x.mp4", sample="d00"))
    with pytest.raises(ValueError, match="side=c must be one of"):
        run(config(shards, tmp_path / "x.mp4", side="c"))
    with pytest.raises(ValueError, match="lies behind the end"):
        run(config(shards, tmp_path / "x.mp4", start=50.0))
    other = {"audio_codec": FakeAudio(), "video_codec": FakeVideo(fingerprint="other-video")}
    with pytest.raises(ValueError, match=r"encoded by video codec fake-video, the loaded one is other-video"):
        run(config(shards, tmp_path / "x.mp4", codec=other))
    assert not (tmp_path / "x.mp4").exists()


def test_lane_shows_spans_at_their_time_in_their_colour() -> None:
    lane = EventLane(rows=[Row(name="voice", spans=([(2.0, 4.0)], [(12.0, 13.0)]))], width=500, title="who")
    assert lane.height % 2 == 0
    plot = 500 - LEFT_PIXELS - RIGHT_PIXELS

    def coloured(seconds: float, colour: str) -> np.ndarray:
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        plot_HWC = lane.at(seconds)[42:, LEFT_PIXELS : LEFT_PIXELS + plot].astype(int)
        return (np.abs(plot_HWC - rgb).max(-1) < 30).any(0).nonzero()[0] / plot * PAGE_SECONDS

    agent, user = COLOURS
    np.testing.assert_allclose(coloured(9.0, agent)[[0, -1]], [2.0, 4.0], atol=0.1)
    assert not len(coloured(9.0, user))
    np.testing.assert_allclose(coloured(19.0, user)[[0, -1]], [2.0, 3.0], atol=0.1)
    cursor = (lane.at(5.0) == CURSOR).all(-1).any(0).nonzero()[0]
    assert (cursor.mean() - LEFT_PIXELS) / plot == pytest.approx(0.5, abs=0.01)
