"""Recordings on disk: readable by the real readers, as long as the layout says, restartable, fast."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from avatar_lab import render
from avatar_lab.event_types import EventType, from_table
from avatar_lab.layout import Layout
from avatar_lab.world.calibrated import calibrated
from avatar_lab.world.dialogue import SIDES
from avatar_lab.world.graph import world_v1
from avatar_lab.world.record import read_dialogue, recording_paths, render_person, write_dataset, write_recording
from avatar_lab.world.scenario import ScenarioName
from avatar_lab.world.simulate import simulate
from avatar_lab.world.worlds import WorldName, make_world

GRAPH = world_v1()


def _second_layout() -> Layout:
    return Layout(fps=Fraction(30), block_seconds=Fraction(2, 5), user_seconds=Fraction(16, 5))


@pytest.mark.parametrize("layout", [Layout(), _second_layout()], ids=["25fps", "30fps"])
def test_media_are_readable_and_as_long_as_the_layout_says(tmp_path: Path, layout: Layout) -> None:
    dialogue = simulate(0, 3.5, graph=GRAPH, layout=layout)
    paths = write_recording(dialogue, tmp_path, layout)
    assert sorted(tmp_path.iterdir()) == sorted(paths), "no temporary file stays"
    blocks = layout.num_blocks(3.5)
    for i, side in enumerate(SIDES):
        with av.open(str(tmp_path / f"{dialogue.interaction}_speaker{i + 1}.mp4")) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.codec_context.pix_fmt == "yuv420p"
            assert stream.average_rate == layout.fps
            frames = list(container.decode(stream))
        seconds = [frame.time for frame in frames]
        np.testing.assert_allclose(seconds, np.arange(len(frames)) / float(layout.fps), atol=1e-4)
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(float)
        drawn, sound = render_person(
            dialogue.persons[side], dialogue.tracks[side], layout, dialogue.noise.generator("sound", side)
        )
        assert decoded.shape == drawn.shape == (blocks * layout.frames_per_block, 64, 64, 3)
        assert 10 * np.log10(255**2 / ((decoded - drawn) ** 2).mean()) > 32
        wav, rate = soundfile.read(tmp_path / f"{dialogue.interaction}_speaker{i + 1}.wav", dtype="float32")
        assert rate == layout.sample_rate
        assert len(wav) == blocks * layout.samples_per_block
        np.testing.assert_allclose(wav, sound, atol=1e-4)


def test_decord_reads_the_same_frames(tmp_path: Path) -> None:
    decord = pytest.importorskip("decord")
    dialogue = simulate(1, 4, graph=GRAPH)
    path = write_recording(dialogue, tmp_path, Layout())[0]
    reader = decord.VideoReader(str(path))
    with av.open(str(path)) as container:
        expected = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert len(reader) == len(expected)
    for index in (len(expected) - 1, 0, 57):
        assert np.abs(reader[index].asnumpy().astype(int) - expected[index]).mean() < 2


def test_sound_can_be_put_into_the_video(tmp_path: Path) -> None:
    layout = Layout()
    path = write_recording(simulate(1, 4, graph=GRAPH), tmp_path, layout, sound_in_video=True)[0]
    with av.open(str(path)) as container:
        rows = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        assert container.streams.audio[0].rate == layout.sample_rate
    wav, _ = soundfile.read(path.with_suffix(".wav"), dtype="float32")
    heard = np.concatenate(rows)
    hop = layout.samples_per_token // 8
    length = min(len(heard), len(wav)) // hop * hop
    energy = [np.square(x[:length]).reshape(-1, hop).mean(1) for x in (heard, wav)]
    lag = [np.corrcoef(np.roll(energy[0], shift), energy[1])[0, 1] for shift in range(-8, 9)]
    assert max(lag) > 0.95
    assert abs(int(np.argmax(lag)) - 8) <= 2, "sound and picture start together"


def test_events_and_header_round_trip(tmp_path: Path) -> None:
    layout = Layout()
    dialogue = simulate(4, 20, graph=GRAPH, held_out=True)
    *_, events, header = write_recording(dialogue, tmp_path, layout)
    assert tuple(from_table(pq.read_table(events))) == dialogue.events
    assert read_dialogue(header, layout).events == dialogue.events
    assert json.loads(header.read_text())["participants"]["a"] == dialogue.persons["a"].name
    with pytest.raises(ValueError, match=r"simulated otherwise: (num_events .*)?graph [0-9a-f]+ \(now"):
        read_dialogue(header, layout, graph=GRAPH.without(["smile_to_smile"]))
    with pytest.raises(ValueError, match=r"layout \{.*pass that world and layout"):
        read_dialogue(header, _second_layout())
    with pytest.raises(ValueError, match="another layout"):
        write_recording(dialogue, tmp_path, _second_layout())


def test_a_recording_names_its_world_and_is_simulated_in_it_again(tmp_path: Path) -> None:
    graph = make_world(WorldName.CALIBRATED, ScenarioName.INTERVIEW, held_out=True)
    dialogue = simulate(4, 12.0, graph=graph, held_out=True)
    *_, header = write_recording(dialogue, tmp_path, Layout())
    plain = json.loads(header.read_text())
    assert (plain["world"], plain["scenario"], plain["held_out_strengths"]) == ("calibrated", "interview", True)
    assert plain["roles"] == {"a": "interviewer", "b": "candidate"}
    assert read_dialogue(header, Layout()).events == dialogue.events
    with pytest.raises(ValueError, match="simulated otherwise: held_out_strengths True"):
        read_dialogue(header, Layout(), graph=calibrated(ScenarioName.INTERVIEW))
    header.write_text(json.dumps(plain | {"scenario": "siesta"}))
    with pytest.raises(ValueError, match="knows no world 'calibrated' with scenario 'siesta'"):
        read_dialogue(header, Layout())
    with pytest.raises(ValueError, match="has no scenario"):
        make_world(WorldName.QUICKSTART, ScenarioName.CASUAL)
    *_, old = write_recording(simulate(4, 2.0, graph=GRAPH), tmp_path, Layout())
    assert "world" not in json.loads(old.read_text()), "headers of the quickstart's world are what they were"


def test_cameras_and_microphones_that_are_off_are_dark_silent_and_in_the_sidecar(tmp_path: Path) -> None:
    graph, layout = calibrated(), Layout()
    assert graph.outages is not None
    graph = replace(graph, outages=replace(graph.outages, camera_share=1.0, microphone_share=1.0))
    dialogue = simulate(3, 40.0, graph=graph)
    *_, events, header = write_recording(dialogue, tmp_path, layout)
    off = json.loads(header.read_text())["off"]
    logged = from_table(pq.read_table(events))
    for i, side in enumerate(SIDES):
        with av.open(str(tmp_path / f"{dialogue.interaction}_speaker{i + 1}.mp4")) as container:
            frames = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
        wav, rate = soundfile.read(tmp_path / f"{dialogue.interaction}_speaker{i + 1}.wav", dtype="int16")
        for kind in (EventType.CAMERA_OFF, EventType.MICROPHONE_OFF):
            [(start, end)] = off[side][kind]
            assert [(e.start, e.end) for e in logged if e.side == side and e.type is kind] == [(start, end)]
            assert 4.0 <= start < end <= 40.0
        [(start, end)] = off[side][EventType.CAMERA_OFF]
        lit = frames.reshape(len(frames), -1).std(1) > 3
        dark = slice(round(start * float(layout.fps)), round(end * float(layout.fps)))
        assert not lit[dark].any()
        assert lit.sum() == len(lit) - len(lit[dark])
        [(start, end)] = off[side][EventType.MICROPHONE_OFF]
        silent = slice(round(start * rate), round(end * rate))
        assert not wav[silent].any()
        assert np.abs(wav).max() > 1000


def test_a_dataset_is_restartable_and_deterministic(tmp_path: Path) -> None:
    names = write_dataset(tmp_path / "x", num_dialogues=3, seconds=2.0, seed=2, held_out=True, workers=1)
    assert len(set(names)) == 3
    files = [path for name in names for path in recording_paths(name, tmp_path / "x")]
    assert all(path.exists() for path in files)
    stamps = {path: path.stat().st_mtime_ns for path in files}
    missing = files[1]
    content = missing.read_bytes()
    missing.unlink()
    reports: list[tuple[int, int]] = []
    again = write_dataset(
        tmp_path / "x",
        num_dialogues=3,
        seconds=2.0,
        seed=2,
        held_out=True,
        workers=1,
        progress=lambda done, total: reports.append((done, total)),
    )
    assert again == names
    assert reports == [(1, 3), (2, 3), (3, 3)]
    assert missing.read_bytes() == content
    untouched = [path for path in files if names[0] not in path.name]
    assert all(path.stat().st_mtime_ns == stamps[path] for path in untouched)
    with pytest.raises(ValueError, match="another world"):
        write_dataset(tmp_path / "x", num_dialogues=3, seconds=3.0, seed=2, held_out=True, workers=1)
    with pytest.raises(ValueError, match="num_dialogues"):
        write_dataset(tmp_path / "x", num_dialogues=0, seconds=3.0, seed=2, held_out=True, workers=1)


@pytest.mark.ci
def test_workers_write_the_same_files(tmp_path: Path) -> None:
    for workers in (1, 2):
        write_dataset(tmp_path / str(workers), num_dialogues=2, seconds=2.0, seed=0, held_out=False, workers=workers)
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes(), path.name


def test_rendering_is_much_faster_than_real_time(tmp_path: Path) -> None:
    write_recording(simulate(9, 1, graph=GRAPH), tmp_path, Layout())
    seconds = 20.0
    best = 0.0
    for seed in (10, 11):
        begin = time.process_time()
        write_recording(simulate(seed, seconds, graph=GRAPH), tmp_path, Layout())
        best = max(best, seconds / (time.process_time() - begin))
    assert best > 8, f"both people with mp4 and wav at {best:.1f} x real time on one core; the bar is 20"


@pytest.mark.ci
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from avatar_lab.world.record import write_dataset; "
        f"write_dataset(Path({str(tmp_path)!r}), num_dialogues=64, seconds=8.0, seed=0, held_out=False, workers=2)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2]) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*.mp4")) and time.monotonic() < deadline:
            time.sleep(0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    assert len(children) >= 2
    deadline = time.monotonic() + 10
    while any(_running(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in children if _running(pid)]


def _running(pid: str) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def test_the_command_renders_held_out_people_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = ["--out", str(tmp_path / "only"), "--seconds", "2", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["avatar-lab render", *where, "--dialogues", "0", "--held-out", "2"])
    render.main()
    assert sorted(path.name for path in (tmp_path / "only").glob("*_speaker1.mp4")) == [
        "h00000000_speaker1.mp4",
        "h00000001_speaker1.mp4",
    ]
    monkeypatch.setattr(sys, "argv", ["avatar-lab render", *where, "--dialogues", "0"])
    with pytest.raises(SystemExit, match="num_dialogues is 0"):
        render.main()
