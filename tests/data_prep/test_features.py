"""Arrays that a data set brings along reach the shards: the right rows, as they were, or a reason that is counted."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import webdataset as wds

from avatar_lab.construct import build
from avatar_lab.data.dataset import DyadData
from avatar_lab.data.schema import DatasetInfo, SideFeatures
from avatar_lab.data.shards import ShardReader
from avatar_lab.inspect_sample import brought, listing
from avatar_lab.layout import Layout
from data_prep import config
from data_prep.prepare import prepare
from data_prep.selection import Share
from data_prep.sources.paired_files import PairedFiles
from data_prep.steps.features import FeatureRule
from data_prep.steps.store import StepResult
from data_prep.steps.sync import SyncRule
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import RATE, ramp, tones, write_pair, write_video
from tests.data_prep.test_prepare import fingerprint

NTSC = Fraction(30000, 1001)
SPEECH = {1: [(0.5, 4.0), (4.6, 6.0)], 2: [(6.4, 10.0)]}


def run(recordings: Path, out: Path, **changes: object) -> DatasetInfo:
    settings: dict = {
        "source": PairedFiles(root=recordings),
        "layout": Layout(),
        "audio_codec": FakeAudio,
        "video_codec": FakeVideo,
        "splits": {"train": 1.0},
        "workers": 0,
        "max_skipped_share": 0.5,
        "features": FeatureRule(),
    }
    return prepare(out=out, **settings | changes)


def arrays_of(rows: int) -> dict[str, np.ndarray]:
    """The number of each row in several types and shapes, and not a number in rows 100 to 109."""
    row = np.arange(rows)
    exp = np.stack([row, -row, np.full(rows, 7)], axis=1).astype(np.float32)
    exp[100:110] = np.nan
    return {
        "exp": exp,
        "movement:valid": row % 2 == 0,
        "light": np.broadcast_to(row[:, None, None], (rows, 9, 3)).astype(np.float16),
        "row": row.astype(np.int64),
        "precise": row.astype(np.float64) / 3,
    }


def write_recording(
    root: Path, name: str, *, rates: tuple[Fraction | int, Fraction | int] = (25, 25), seconds: float = 12.1
) -> None:
    """Two people whose frames tell their number by their grey level, with an npz that has a row for every frame."""
    root.mkdir(parents=True, exist_ok=True)
    for number, fps in enumerate(rates, start=1):
        stem = root / f"{name}_speaker{number}"
        frames = ramp(seconds, fps=float(fps), offset=20)
        write_video(stem.with_suffix(".mp4"), frames, fps=fps)
        soundfile.write(stem.with_suffix(".wav"), tones(seconds, SPEECH[number]), RATE, "PCM_16")
        np.savez(stem.with_suffix(".npz"), allow_pickle=False, **arrays_of(len(frames)))


def of(out: Path, side: str, key: str = "d0") -> SideFeatures:
    return ShardReader(out).interaction(key, features=None).features[side]


def report_of(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 frames per second beside 29.97, one in which only b brings arrays, and one person without a partner."""
    root = tmp_path_factory.mktemp("recordings")
    write_recording(root, "d0", rates=(25, NTSC))
    for name in ("d1_speaker1.mp4", "d1_speaker1.wav", "lone_speaker1.mp4", "lone_speaker1.wav", "lone_speaker1.npz"):
        shutil.copy(root / f"d0_speaker1{name[-4:]}", root / name)
    for suffix in (".mp4", ".wav", ".npz"):
        shutil.copy(root / f"d0_speaker1{suffix}", root / f"d1_speaker2{suffix}")
    return root


@pytest.fixture(scope="module")
def prepared(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "shards"
    run(recordings, out)
    return out


def test_rows_end_where_the_pictures_do_and_are_as_they_were(prepared: Path, recordings: Path) -> None:
    """12.1 s, 12.0 of them whole latents: 300 rows at 25 per second, and those that begin before 12.0 s at 29.97."""
    for side, fps, count in (("a", 25, 300), ("b", NTSC, 360)):
        found = of(prepared, side)
        with np.load(recordings / f"d0_speaker{1 + 'ab'.index(side)}.npz") as stored:
            assert sorted(found.arrays) == sorted(stored.files)
            for name in stored.files:
                assert found.arrays[name].dtype == stored[name].dtype
                np.testing.assert_array_equal(found.arrays[name], stored[name][:count])
        np.testing.assert_allclose(found.seconds, np.arange(count) / float(fps), atol=1e-3)
        assert found.arrays["row"][-1] == count - 1
        assert np.isnan(found.arrays["exp"][100:110]).all()
        assert np.isfinite(found.arrays["exp"][110:]).all()
    assert list(ShardReader(prepared).interaction("d1", features=None).features) == ["b"]
    assert ShardReader(prepared).interaction("d0").features == {}


def test_batches_show_the_row_of_the_picture(prepared: Path) -> None:
    data = DyadData(root=prepared, layout=Layout(), batch_size=2, num_blocks=8, seed=0, features=["row", "exp"])
    batch = data.conversation("d0", "b")
    assert batch.features is not None
    frames = np.arange(37 * 8)
    assert batch.features.avatar_valid["row"].all()
    np.testing.assert_array_equal(batch.features.avatar["row"][0], np.floor(frames / 25 * float(NTSC) + 0.06))
    lead = batch.features.user["row"].shape[1] - len(frames)
    np.testing.assert_array_equal(batch.features.user["row"][0, lead:], frames)
    assert not batch.features.user_valid["row"][0, :lead].any()
    assert batch.features.user["exp"][0, lead + 100 : lead + 110].isnan().all()
    assert batch.features.user_valid["exp"][0, lead + 100 : lead + 110].all(), "the data set's own NaN are rows"
    one_sided = data.conversation("d1", "a").features
    assert one_sided is not None
    assert not one_sided.avatar_valid["row"].any()
    assert one_sided.user["row"].max() == 295


class Moved(SyncRule):
    """Moves b by what it is made with, whatever was measured."""

    def shift(self, synced: StepResult) -> float:
        return 0.4 if self.apply else -0.4


@pytest.mark.parametrize("later", [True, False])
def test_arrays_of_a_moved_side_move_with_its_pictures(
    prepared: Path, recordings: Path, tmp_path: Path, later: bool
) -> None:
    run(recordings, tmp_path / "shards", work=prepared.with_name("shards.work"), sync=Moved(apply=later))
    np.testing.assert_array_equal(of(tmp_path / "shards", "a").arrays["row"], np.arange(300))
    for key, fps in (("d0", NTSC), ("d1", Fraction(25))):
        found, last = of(tmp_path / "shards", "b", key), round(12.1 * fps) - 1
        first = 0 if later else round(0.4 * fps)
        end = round(11.6 * fps) - 1 if later else last
        assert found.arrays["row"][[0, -1]].tolist() == [first, end]
        np.testing.assert_allclose(
            found.seconds[[0, -1]], np.asarray([first, end]) / float(fps) + (0.4 if later else -0.4), atol=2e-3
        )
        side = ShardReader(tmp_path / "shards").interaction(key).sides["b"]
        index_P, live_P = found.at(np.arange(300) / 25)
        np.testing.assert_array_equal(live_P.reshape(75, 4).all(1), side.video_valid)
        level_F = (side.avatar_latents.astype(np.float32).mean((1, 2, 3)) + 1) * 127.5
        shown_F = np.floor(20 + 10 * found.arrays["row"][index_P] / float(fps)).reshape(75, 4).mean(1)
        lag = 10 * 0.16 / 3  # what the codec leaks of earlier latents
        steady_F = side.video_valid & (np.arange(75) > 10) & (np.arange(75) < 70)
        assert np.abs(level_F - (shown_F - lag))[steady_F].max() < 1.5


def write_sound_only(root: Path, name: str, *, rows: int, seconds: float = 12.0) -> Path:
    """As DualTalk: sound and parameters of faces, no pictures; the file of a."""
    root.mkdir(parents=True, exist_ok=True)
    for number, spans in SPEECH.items():
        wav = tones(seconds, spans, sample_rate=16_000)
        soundfile.write(root / f"{name}_speaker{number}.wav", wav, 16_000, "FLOAT")
        np.savez(root / f"{name}_speaker{number}.npz", allow_pickle=False, **arrays_of(rows))
    return root / f"{name}_speaker1.npz"


def test_without_pictures_the_source_states_the_rate_and_nothing_is_guessed(tmp_path: Path) -> None:
    """Whatever is wrong with a file of arrays, sound and partner stay."""
    root, out = tmp_path / "in", tmp_path / "shards"
    write_sound_only(root, "d0", rows=301)
    np.savez(write_sound_only(root, "slow", rows=299), allow_pickle=False, **arrays_of(120))
    write_sound_only(root, "hurt", rows=300).write_bytes(b"PK\3\4" + bytes(100))
    info = run(root, out, source=PairedFiles(root=root, pictures=False, feature_rate=25))
    assert info.splits["train"]["interactions"] == 3
    for key, last in (("d0", 299), ("slow", 298), ("hurt", 299)):
        found = of(out, "b", key)
        assert found.arrays["row"].tolist() == list(range(last + 1))
        np.testing.assert_allclose(found.seconds, np.arange(last + 1) / 25, atol=1e-9)
    data = DyadData(root=out, layout=Layout(), batch_size=6, num_blocks=8, seed=0, features=["exp"])
    batch = data.batch(0)
    assert batch.features is not None
    assert batch.features.avatar["exp"].shape == (6, 64, 3)
    assert {"a", "b"} == set(ShardReader(out).interaction("d0", features=None).features)
    assert {"b"} == set(ShardReader(out).interaction("hurt", features=None).features)
    report = report_of(out)["features"]
    assert (report["files"], report["refused"]) == (6, {"damaged": 1, "no_clock": 1})
    rows = {row["interaction"]: row for row in pq.read_table(out / "report.parquet").to_pylist()}
    assert (rows["slow"]["a_feature_seconds"], rows["slow"]["b_feature_seconds"]) == (0.0, 12.0)
    assert rows["slow"]["a_features_left_out"].startswith("no_clock: slow_speaker1.npz has rows exp 120")
    assert "there is no video, 25 rows per second are stated" in rows["slow"]["a_features_left_out"]
    assert rows["hurt"]["a_features_left_out"].startswith("damaged: hurt_speaker1.npz")
    assert "| files refused: no_clock | 1 |" in (out / "report.md").read_text()


@pytest.mark.parametrize("rate", ["x", 0, -25, "1/0"])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, rate: float | str) -> None:
    with pytest.raises(ValueError, match=r"source\.feature_rate is .*such as 25 or 30000/1001"):
        PairedFiles(root=tmp_path, feature_rate=rate)


def test_keys_choose_and_only_this_step_runs_again(prepared: Path, recordings: Path, tmp_path: Path) -> None:
    work = prepared.with_name("shards.work")
    rule = FeatureRule(keys=["exp", "movement:*"])
    info = run(recordings, tmp_path / "shards", work=work, features=rule)
    assert sorted(of(tmp_path / "shards", "b").arrays) == ["exp", "movement:valid"]
    assert [str(form) for form in info.features] == ["exp float32[3]", "movement:valid bool[]"]
    keys = [ShardReader(root).interaction("d0").meta.step_keys for root in (prepared, tmp_path / "shards")]
    assert {step for step in keys[0] if keys[0][step] != keys[1][step]} == {"features"}
    run(recordings, tmp_path / "none", work=work, features=FeatureRule(keys=["pose"]))
    report = report_of(tmp_path / "none")
    assert report["features"]["refused"] == {"no_array": 3}
    assert report["skipped_by_reason"] == {"missing_partner": 1}


@pytest.mark.ci
def test_without_arrays_shards_are_as_they_were_and_older_ones_go_on(tmp_path: Path) -> None:
    out, work = tmp_path / "off", tmp_path / "work"
    write_pair(tmp_path / "in", "d0")
    run(tmp_path / "in", out, work=work, features=None)
    run(tmp_path / "in", tmp_path / "on", work=work)
    assert fingerprint(tmp_path / "on") == fingerprint(out)
    assert (tmp_path / "on" / "dataset.json").read_text() == (out / "dataset.json").read_text()
    settings = json.loads((out / "settings.json").read_text())
    del settings["features"], settings["version"]["features"]  # as before the step existed
    (out / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"features: None -> \{'keys': \[\].*overwrite=true"):
        run(tmp_path / "in", out, work=work)
    run(tmp_path / "in", out, work=work, features=None)


@pytest.mark.ci
def test_array_tasks_leave_the_bytes_of_one_process(prepared: Path, recordings: Path, tmp_path: Path) -> None:
    for index in (1, 0):
        assert run(recordings, tmp_path / "shards", array=Share(index=index, count=2)) is None
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "shards.work").rglob("result.json")}
    run(recordings, tmp_path / "shards")
    assert fingerprint(tmp_path / "shards") == fingerprint(prepared)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


@pytest.mark.ci
def test_a_killed_run_goes_on_where_it_stopped(prepared: Path, recordings: Path, tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from tests.data_prep.test_features import run; "
        f"run(Path({str(recordings)!r}), Path({str(tmp_path / 'shards')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2], start_new_session=True)
    work, deadline = tmp_path / "shards.work", time.monotonic() + 120
    while not list((work / "features").glob("*")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "shards" / "dataset.json").exists()
    run(recordings, tmp_path / "shards")
    assert fingerprint(tmp_path / "shards") == fingerprint(prepared)
    assert not list(work.glob("*/.*"))


def test_everybody_can_see_them(prepared: Path) -> None:
    found = report_of(prepared)["features"]
    assert found["files"] == 3
    assert found["hours"] == pytest.approx({"a": 12 / 3600, "b": 24 / 3600})
    assert found["hours_by_array"]["exp float32[3]"] == pytest.approx(36 / 3600)
    assert found["rates"] == {"25 Hz": 2, "29.97 Hz": 1}
    assert report_of(prepared)["steps"]["features"] == 2
    reader = ShardReader(prepared)
    assert [line.rpartition("  ")[2] for line in listing(reader)] == ["arrays of a and b", "arrays of b"]
    lines = list(brought(reader, "d0"))
    assert lines[0] == f"a: exp float32[3], 25 Hz, 0.00 to 11.96 s, {10 / 300:.1%} NaN"
    assert lines[-1] == "b: row int64[], 29.97 Hz, 0.00 to 11.98 s, 0.0% NaN"
    (sample, *_) = wds.WebDataset([str(next(prepared.glob("*.tar")))], shardshuffle=False)
    with np.load(io.BytesIO(sample["a.features.npz"]), allow_pickle=False) as plain:
        assert plain["row"][-1] == 299


def test_configurations() -> None:
    folder = Path(str(resources.files("configs"))) / "data_prep"
    rule = build(config.load(folder / "paired_files.yaml", [])["features"])
    assert rule == FeatureRule(keys=[])
    assert rule.wants("anything")
    chosen = build(config.load(folder / "mimi_wan.yaml", ["features.keys=[exp]"])["features"])
    assert chosen.wants("exp")
    assert not chosen.wants("pose")
    for name in ("seamless", "stereo_manifest", "world"):
        assert config.load(folder / f"{name}.yaml", [])["features"] is None
