"""Visible events from curves of motion: by the pixel reader, and from arrays that a data set brings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.construct import build
from avatar_lab.data.schema import DatasetInfo
from avatar_lab.data.shards import ShardReader
from avatar_lab.event_types import Event, EventType, from_table, to_table
from avatar_lab.layout import Layout
from avatar_lab.world.record import write_dataset
from data_prep.blob import Blob
from data_prep.manifest import Recording
from data_prep.prepare import prepare
from data_prep.sources.paired_files import PairedFiles
from data_prep.steps.motion import ArrayColumn, ArrayMotion, PixelMotion
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import write_pair

SECONDS, FPS = 20.0, 25


def run(source: object, out: Path, **changes: object) -> DatasetInfo:
    settings: dict = {
        "source": source,
        "layout": Layout(),
        "audio_codec": FakeAudio,
        "video_codec": FakeVideo,
        "splits": {"train": 1.0},
        "workers": 0,
    }
    return prepare(out=out, **settings | changes)


class WithArrays(PairedFiles):
    """Paired files with an npz of arrays beside each video."""

    def recordings(self):  # type: ignore[no-untyped-def]
        for recording in super().recordings():
            yield replace(recording, sides={side: self._with(recording, side) for side in recording.sides})

    def _with(self, recording: Recording, side: str):  # type: ignore[no-untyped-def]
        path = self.root / f"{recording.interaction}.{side}.npz"
        return replace(recording.sides[side], features=Blob.of(path) if path.is_file() else None)


def head(*, starts: tuple[float, ...]) -> np.ndarray:
    """Rotations (N, 3) in radians with nods of 3 Hz at ``starts``."""
    time = np.arange(round(SECONDS * FPS)) / FPS
    pitch = np.full(len(time), 0.2)
    for start in starts:
        phase = (time - start) * 3.0
        pitch += ((phase >= 0) & (phase < 2)) * np.deg2rad(10.0) * (1 - np.cos(2 * np.pi * phase)) / 2
    return np.stack([pitch, np.full_like(pitch, 0.1), np.full_like(pitch, -0.1)], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Side a nods three times, once within a block of zeros that is marked invalid; side b brings other arrays."""
    root = tmp_path_factory.mktemp("recordings")
    write_pair(root, "d", seconds=SECONDS)
    rotation, valid = head(starts=(3.0, 9.0, 15.0)), np.ones((round(SECONDS * FPS), 1), np.float32)
    rotation[200:260], valid[200:260] = 0.0, 0.0
    np.savez(root / "d.a.npz", allow_pickle=False, **{"movement:head": rotation, "movement:is_valid": valid})
    np.savez(root / "d.b.npz", allow_pickle=False, **{"smplh:is_valid": np.ones(3, bool)})
    return root


READER = ArrayMotion(
    channels={"pitch": ArrayColumn(array="movement:head", scale=float(np.rad2deg(1.0)))}, valid="movement:is_valid"
)


def nods(out: Path, key: str = "d") -> list[tuple[str, float]]:
    events = from_table(ShardReader(out).interaction(key).events)
    return [(event.side, round(event.start, 1)) for event in events if event.type is EventType.NOD]


def motion_of(out: Path, key: str = "d") -> dict:
    keys = ShardReader(out).interaction(key).meta.step_keys
    return json.loads((out.with_name(out.name + ".work") / "motion" / keys["motion"] / "result.json").read_text())


@pytest.mark.ci
def test_arrays_give_events_where_they_are_valid(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    run(WithArrays(root=recordings), out, motion=READER)
    assert nods(out) == [("a", 3.0), ("a", 15.0)]
    row = ShardReader(out).row("d")
    plain = tmp_path / "plain"
    run(WithArrays(root=recordings), plain)
    without = ShardReader(plain).row("d")
    gained = np.asarray(row.a_reactions, int) - np.asarray(without.a_reactions, int)
    assert np.flatnonzero(gained).tolist() == [3, 15]
    assert row.b_reactions == without.b_reactions
    assert motion_of(out)["known"] == {"a": {"pitch": pytest.approx(1 - 60 / 500)}, "b": {}}
    assert "motion" not in ShardReader(plain).interaction("d").meta.step_keys


@pytest.mark.ci
def test_the_log_of_the_source_goes_before_what_was_found(recordings: Path, tmp_path: Path) -> None:
    logged = Event(interaction="d", side="b", type=EventType.NOD, start=7.5, end=8.0)
    path = recordings / "d.events.parquet"
    pq.write_table(to_table([logged]), path)
    try:
        run(WithArrays(root=recordings), tmp_path / "nod", motion=READER)
        pq.write_table(to_table([replace(logged, type=EventType.SMILE)]), path)
        run(WithArrays(root=recordings), tmp_path / "smile", motion=READER)
    finally:
        path.unlink()
    assert nods(tmp_path / "nod") == [("a", 3.0), ("a", 15.0)]
    row = ShardReader(tmp_path / "nod").row("d")
    assert (row.a_reactions[3], row.a_reactions[15], row.b_reactions[7]) == (0, 0, 1)
    row = ShardReader(tmp_path / "smile").row("d")
    assert (row.a_reactions[3], row.a_reactions[15], row.b_reactions[7]) == (1, 1, 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: arrays.pop("movement:is_valid"),
        lambda arrays: arrays.update({"movement:head": np.repeat(arrays["movement:head"], 8, axis=0)}),
        lambda arrays: arrays.update({"movement:head": np.zeros((500, 3), np.float32)}),
        lambda arrays: arrays.update({"movement:head": np.full((500, 3), np.nan, np.float32)}),
    ],
    ids=["no validity", "another rate", "all zeros", "no numbers"],
)
def test_arrays_that_cannot_be_believed_are_unknown(recordings: Path, tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    root = tmp_path / "recordings"
    write_pair(root, "d", seconds=SECONDS)
    with np.load(recordings / "d.a.npz") as stored:
        arrays = dict(stored)
    damage(arrays)
    np.savez(root / "d.a.npz", allow_pickle=False, **arrays)
    run(WithArrays(root=root), tmp_path / "shards", motion=READER)
    assert nods(tmp_path / "shards") == []
    assert motion_of(tmp_path / "shards")["known"]["a"] == {"pitch": 0.0}


def test_configs_name_the_readers() -> None:
    reader = build(
        {
            "_target_": "data_prep.steps.motion.ArrayMotion",
            "valid": "movement:is_valid",
            "channels": {"pitch": {"_target_": "data_prep.steps.motion.ArrayColumn", "array": "x", "scale": 57.3}},
        }
    )
    assert reader.identity()["channels"]["pitch"]["scale"] == 57.3
    with pytest.raises(ValueError, match=r"motion.channels has \['nose'\]"):
        ArrayMotion(channels={"nose": ArrayColumn(array="x")})


@pytest.mark.ci
def test_pixel_reader_finds_what_the_world_says_happened(tmp_path: Path) -> None:
    layout = Layout()
    write_dataset(tmp_path / "world", num_dialogues=1, seconds=60.0, seed=5, held_out=False, workers=1, layout=layout)
    out = tmp_path / "shards"
    run(
        PairedFiles(root=tmp_path / "world"),
        out,
        audio_codec=TinyAudio.load,
        video_codec=TinyVideo.load,
        motion=PixelMotion(),
    )
    reader = ShardReader(out)
    (key,) = reader.keys("train")
    interaction = reader.interaction(key)
    assert interaction.given_events is not None
    found, logged = from_table(interaction.events), from_table(interaction.given_events)
    for kind in (EventType.NOD, EventType.SMILE, EventType.BLINK):
        wanted = [event for event in logged if event.type is kind]
        near = [
            any(e.side == event.side and e.type is kind and abs(e.start - event.start) < 0.3 for e in found)
            for event in wanted
        ]
        assert len(wanted) >= 3
        assert np.mean(near) >= 0.9, f"{kind}: {np.mean(near):.2f} of {len(near)}"
        assert sum(event.type is kind for event in found) <= 1.2 * len(wanted)
