"""The whole preparation on small recordings with known content, with codecs that show what they were given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from avatar_lab.data.dataset import DyadData
from avatar_lab.data.schema import DatasetInfo, file_sha256
from avatar_lab.data.shards import ShardReader
from avatar_lab.event_types import Event, EventType, from_table, to_table
from avatar_lab.layout import Layout
from data_prep.prepare import main, prepare
from data_prep.sources.paired_files import PairedFiles
from data_prep.steps.store import StepStore
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import write_pair

NAMES = ("d0", "d1", "d2")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    for index, name in enumerate(NAMES):
        write_pair(root, name, seconds=12.0 + index)
    nod = Event(interaction="d1", side="b", type=EventType.NOD, start=5.0, end=5.8, event_id=3)
    pq.write_table(to_table([nod]), root / "d1.events.parquet")
    (root / "d1.world.json").write_text('{"participants": {"a": "ann", "b": "bob"}, "license": "CC0-1.0"}')
    return root


def run(recordings: Path, out: Path, **changes: object) -> DatasetInfo:
    settings: dict = {
        "source": PairedFiles(root=recordings),
        "layout": Layout(),
        "audio_codec": FakeAudio,
        "video_codec": FakeVideo,
        "splits": {"train": 1.0},
        "workers": 0,
    }
    return prepare(out=out, **settings | changes)


@pytest.fixture(scope="module")
def prepared(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "shards"
    run(recordings, out)
    return out


def fingerprint(out: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(out.iterdir()) if path.suffix in (".tar", ".parquet")}


def test_arrays_hold_what_the_recordings_show(prepared: Path) -> None:
    reader = ShardReader(prepared)
    assert reader.keys("train") == list(NAMES)
    side = reader.interaction("d0").sides["a"]
    assert len(side.audio_tokens) == 150
    assert len(side.avatar_latents) == 75
    talking = np.zeros(150, bool)
    for start, end in ((0.5, 4.0), (4.6, 6.0)):
        talking[round(start * 12.5) : round(end * 12.5)] = True
    loud = side.audio_tokens[:, 0] > 15
    assert (loud == talking).mean() > 0.95
    np.testing.assert_array_equal(side.audio_tokens[1:, 1], side.audio_tokens[:-1, 0])
    # frames grow by 10 grey levels per second from 20; the latent averages four frames and leaks a quarter of the last
    level = (side.avatar_latents.astype(np.float32).mean((1, 2, 3)) + 1) * 127.5
    np.testing.assert_allclose(level[10:], 20 + 10 * (np.arange(75)[10:] * 0.16 + 0.06 - 0.16 / 3), atol=2.5)
    np.testing.assert_array_equal(side.user_features, side.avatar_latents.reshape(75, -1))
    assert side.audio_valid.all()
    assert side.video_valid.all()


def test_script_leaves_out_reactions(prepared: Path) -> None:
    data = DyadData(root=prepared, layout=Layout(), batch_size=2, num_blocks=8, seed=0)
    sides = data.interaction("d0").sides
    assert sides["b"].sound[32:36].all()  # the backchannel at 2.5 s
    assert not sides["b"].script[32:36].any()
    assert sides["b"].script[82:124].all()
    assert sides["a"].script[7:48].all()
    batch = data.conversation("d0", "b")
    np.testing.assert_array_equal(batch.script_BE[0, :120], sides["b"].script[:120])
    assert batch.anchor.voice_BNK.shape == (1, Layout().anchor_tokens, 2)


def test_events_and_origin_travel_along(prepared: Path) -> None:
    reader = ShardReader(prepared)
    interaction = reader.interaction("d1")
    found = from_table(interaction.events)
    assert [e.side for e in found if e.type is EventType.BACKCHANNEL] == ["b"]
    assert interaction.given_events is not None
    assert [e.type for e in from_table(interaction.given_events)] == [EventType.NOD]
    assert interaction.meta.participants == {"a": "ann", "b": "bob"}
    assert (interaction.meta.license, interaction.meta.non_commercial) == ("CC0-1.0", True)
    assert interaction.meta.audio_fingerprint == "fake-audio"
    assert reader.row("d1").b_reactions[5] == 1
    assert reader.interaction("d0").given_events is None
    assert reader.info.licenses == pytest.approx({"unknown": 26 / 3600, "CC0-1.0": 13 / 3600})


def test_pictures_are_taken_in_silence(prepared: Path) -> None:
    side = ShardReader(prepared).interaction("d0").sides["a"]
    assert side.pictures.shape == (4, 2, 2, 3)
    level = (side.pictures.astype(np.float32).mean((1, 2, 3)) + 1) * 127.5
    np.testing.assert_allclose(level, 20 + 10 * side.picture_frames / 25, atol=2.0)
    seconds = side.picture_frames / 25
    assert seconds[0] < 0.5
    assert 4.0 < seconds[1] < 4.6


def test_report_counts_everything(prepared: Path) -> None:
    text = (prepared / "report.md").read_text()
    assert "3 of 3 recordings prepared" in text
    assert "| backchannels |" in text
    assert "times real time" in text


def test_second_call_does_nothing_twice(prepared: Path, recordings: Path) -> None:
    def stamps() -> dict[Path, int]:
        files = [*prepared.glob("*.tar"), prepared / "dataset.json", *prepared.with_name("shards.work").rglob("*.npz")]
        return {path: path.stat().st_mtime_ns for path in files}

    before = stamps()
    report = (prepared / "report.json").read_text()
    run(recordings, prepared)
    assert stamps() == before
    assert (prepared / "report.json").read_text() == report


@pytest.mark.ci
def test_two_workers_write_the_same_bytes(prepared: Path, recordings: Path, tmp_path: Path) -> None:
    info = run(recordings, tmp_path / "shards", workers=2, chunk_seconds=2.0)
    assert fingerprint(tmp_path / "shards") == fingerprint(prepared)
    assert info == ShardReader(prepared).info


@pytest.mark.ci
def test_killed_run_goes_on_where_it_stopped(prepared: Path, recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    program = (
        "from pathlib import Path; from tests.data_prep.test_prepare import run; "
        f"run(Path({str(recordings)!r}), Path({str(out)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2], start_new_session=True)
    work = tmp_path / "shards.work"
    deadline = time.monotonic() + 60
    while not list((work / "encode").glob("[!.]*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in work.rglob("result.json")}
    assert finished
    assert not (out / "dataset.json").exists()
    (work / "encode" / ".half").mkdir()
    run(recordings, out)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in finished.items())
    assert not list(work.glob("*/.*"))
    assert fingerprint(out) == fingerprint(prepared)


def test_media_processes_end_with_a_killed_worker(recordings: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from data_prep.blob import Blob; "
        "from data_prep.media.client import MediaClient, MediaLimits; "
        f"client = MediaClient(MediaLimits()); client.probe(Blob.of(Path({str(recordings / 'd0_speaker1.mp4')!r}))); "
        "print(client._process.pid, flush=True); sys.stdin.read()"
    )
    root = Path(__file__).parents[2]
    pipes: dict = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": root, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        os.kill(server, 0)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while _running(server) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not _running(server)


def _running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.ci
def test_only_what_changed_is_computed_again(prepared: Path, recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    info = run(recordings, out, work=prepared.with_name("shards.work"))
    assert info.content_hash == ShardReader(prepared).info.content_hash
    encoded = prepared.with_name("shards.work") / "encode"
    before = {path.name for path in encoded.iterdir()}
    with pytest.raises(
        ValueError, match=r"video_codec: fake_video fake-video -> fake_video other-video\): overwrite=true"
    ):
        run(recordings, out, work=prepared.with_name("shards.work"), video_codec=_OtherVideo)
    other = run(recordings, out, work=prepared.with_name("shards.work"), video_codec=_OtherVideo, overwrite=True)
    assert len({path.name for path in encoded.iterdir()} - before) == 3
    assert other.content_hash != info.content_hash
    assert other.video_fingerprint == "other-video"
    keys = [ShardReader(root).interaction("d0").meta.step_keys for root in (prepared, out)]
    assert {step for step in keys[0] if keys[0][step] != keys[1][step]} == {"encode", "pictures"}


class _OtherVideo(FakeVideo):
    def __init__(self) -> None:
        super().__init__(fingerprint="other-video")


def test_small_shards_are_cut_by_size(recordings: Path, prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    info = run(recordings, out, work=prepared.with_name("shards.work"), max_shard_bytes=1)
    assert [shard.name for shard in info.shards] == [f"train-{number:06d}.tar" for number in range(3)]
    reader = ShardReader(out)
    assert [reader.interaction(key).key for key in reader.keys("train")] == list(NAMES)
    run(recordings, out, work=prepared.with_name("shards.work"))
    assert [path.name for path in out.glob("*.tar")] == ["train-000000.tar"]


def test_codecs_on_other_grids_are_refused(recordings: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sample rate: the codec has 16000, the layout 24000"):
        run(recordings, tmp_path / "shards", audio_codec=_SlowAudio)


class _SlowAudio(FakeAudio):
    def __init__(self) -> None:
        super().__init__(sample_rate=16_000)


def test_lost_results_and_busy_folders_are_said(recordings: Path, prepared: Path, tmp_path: Path) -> None:
    store = StepStore(prepared.with_name("shards.work"))
    assert store.load("encode", "0" * 64) is None
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(ValueError, match="another preparation is using"):
        run(recordings, tmp_path / "shards", work=tmp_path)
    holder.kill()
    holder.communicate()


_HOLD = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"


def test_command_line_says_why_and_exits_with_1(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([f"source.root={tmp_path / 'nowhere'}", f"out={tmp_path / 'out'}"])
    assert stopped.value.code == 1
    assert "does not exist" in caplog.text
