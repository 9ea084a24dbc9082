"""A plan tells what the run then costs: totals from samples, bounded reading, the truth on recordings of the world."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.layout import Layout
from avatar_lab.world.record import write_dataset
from data_prep.estimate import Estimate, ratio_of, total_of
from data_prep.manifest import Recording, SkipReason
from data_prep.plan import make_plan
from data_prep.selection import Share
from data_prep.settings import Settings
from data_prep.sources.paired_files import PairedFiles
from data_prep.steps.store import StepStore
from data_prep.timed_sample import SampleRule
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import write_pair
from tests.data_prep.test_prepare import run


def test_a_whole_population_is_exact_and_a_sample_is_not() -> None:
    values = [10.0, 12.0, 17.0, 9.0]
    assert total_of(values, population=4) == Estimate(value=48.0)
    part = total_of(values, population=400)
    assert part.value == 4800.0
    # t(3, .95) = 2.3534; sd = 3.5590; 400 * sd * sqrt((1 - 1/100) / 4)
    assert part.spread == pytest.approx(2.3534 * 3.5590 * 400 * np.sqrt(0.99 / 4), rel=1e-3)
    assert ratio_of([2.0, 4.0, 6.0], [1.0, 2.0, 3.0], population=1000) == Estimate(value=2.0)
    assert ratio_of([3.0], [1.0], population=5) == Estimate(value=3.0, spread=3.0)
    assert ratio_of([], [], population=5).value == 0.0


def test_intervals_hold_what_they_promise() -> None:
    """Totals of 1,000 recordings from 8, drawn 400 times: nine of ten intervals hold the true one."""
    rng = np.random.default_rng(0)
    sizes = rng.uniform(200, 900, 1000)
    costs = sizes * rng.normal(0.5, 0.08, 1000)
    hits = 0
    for _ in range(400):
        drawn = rng.choice(1000, 8, replace=False)
        ratio = ratio_of(costs[drawn].tolist(), sizes[drawn].tolist(), population=1000)
        hits += ratio.low <= costs.sum() / sizes.sum() <= ratio.high
    assert 0.85 < hits / 400 < 0.95


class Many:
    """A data set that lists the same few files again and again under new names."""

    name = "many"

    def __init__(self, root: Path, count: int) -> None:
        self.findings: Counter[str] = Counter()
        self._files, self._count = list(PairedFiles(root=root).recordings()), count

    def recordings(self) -> Iterator[Recording]:
        for number in range(self._count):
            recording = replace(self._files[number % len(self._files)], interaction=f"r{number:06d}")
            problem = (SkipReason.NOT_ON_DISK, "elsewhere") if number % 5 == 4 else None
            yield replace(recording, problem=problem)


@pytest.mark.ci
def test_of_many_recordings_some_headers_are_read(tmp_path: Path) -> None:
    write_pair(tmp_path / "few", "d0", seconds=10.5)
    write_pair(tmp_path / "few", "d1", seconds=13.5)
    write_pair(tmp_path / "few", "d2", seconds=6.0)  # too short
    listed = list(Many(tmp_path / "few", 25_000).recordings())
    plan = make_plan(
        listed,
        settings=Settings(layout=Layout(), work=tmp_path / "work"),
        load_audio=FakeAudio,
        load_video=FakeVideo,
        workers=0,
        share=Share(count=4),
        rule=SampleRule(recordings=1, headers=150),
        max_shard_bytes=1 << 20,
    )
    assert (plan.recordings, plan.population, plan.headers) == (25_000, 20_000, 150)
    assert plan.dropped["not_on_disk"] == 5000
    assert 25 < plan.dropped["too_short"] < 75
    true_hours = (10.5 + 13.5) * 20_000 / 3 / 3600
    assert plan.hours.value == pytest.approx(true_hours, rel=0.2)
    assert abs(plan.hours.value - true_hours) < 2 * plan.hours.spread < 0.4 * true_hours
    assert plan.tasks == 4


@pytest.mark.ci
def test_plan_runs_nothing_twice_and_says_what_it_rests_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out, work = tmp_path / "recordings", tmp_path / "shards", tmp_path / "shards.work"
    for index in range(4):
        write_pair(root, f"d{index}", seconds=11.0 + index)
    (root / "d3_speaker1.mp4").write_bytes(b"")
    rule = SampleRule(recordings=2)
    assert run(root, out, plan=True, plan_sample=rule, array=Share(count=2)) is None
    text = capsys.readouterr().out
    assert "of 4; not usable: 1 empty" in text
    assert "Measured: lengths and bytes, by the headers of all 4 recordings" in text
    assert "from 2 recordings" in text
    assert "2 tasks of one process, side by side" in text
    assert not out.exists()
    assert len(list((work / "encode").iterdir())) == 2
    stamps = {path: path.stat().st_mtime_ns for path in work.rglob("result.json")}
    before = json.loads((work / "plan" / "plan.json").read_text())

    assert run(root, out, plan=True, plan_sample=rule) is None
    again = json.loads((work / "plan" / "plan.json").read_text())
    assert again["encode_core_hours"] == before["encode_core_hours"]
    assert stamps == {path: path.stat().st_mtime_ns for path in work.rglob("result.json")}
    assert not list((work / "plan").glob(".*"))

    assert run(root, out, max_skipped_share=0.5).splits["train"]["interactions"] == 3
    capsys.readouterr()
    run(root, out, plan=True, plan_sample=rule)
    assert "100% are prepared already" in capsys.readouterr().out
    run(root, tmp_path / "scores", plan=True, plan_sample=rule, score_only=True)
    text = capsys.readouterr().out
    assert "decoding" in text
    assert "encoding" not in text
    assert "shards" not in text
    assert not (tmp_path / "scores.work" / "encode").exists()


@pytest.mark.ci
def test_plan_is_true_on_recordings_of_the_world(tmp_path: Path) -> None:
    """Hours and frames within 1 %, shard and result bytes within 5 %, time within a factor of three."""
    layout = Layout()
    for seed, seconds in ((5, 16.0), (6, 28.0)):
        write_dataset(
            tmp_path / "world", num_dialogues=4, seconds=seconds, seed=seed, held_out=False, workers=1, layout=layout
        )
    source = PairedFiles(root=tmp_path / "world", name="world", license="generated", non_commercial=False)
    codecs = {"audio_codec": TinyAudio.load, "video_codec": TinyVideo.load}
    planned = {"source": source, "work": tmp_path / "planned.work"} | codecs
    run(tmp_path, tmp_path / "planned", plan=True, plan_sample=SampleRule(recordings=3), **planned)
    plan = json.loads((tmp_path / "planned.work" / "plan" / "plan.json").read_text())
    out, work = tmp_path / "shards", tmp_path / "work"
    began = time.monotonic()
    info = run(tmp_path, out, source=source, work=work, **codecs)
    took = time.monotonic() - began
    assert plan["timed"] == 3
    assert plan["usable"]["value"] == info.splits["train"]["interactions"] == 8
    assert plan["hours"]["value"] == pytest.approx(info.splits["train"]["seconds"] / 3600, rel=0.01)
    probed = [StepStore(work).load("probe", path.name) for path in (work / "probe").iterdir()]
    frames = sum(len(result.arrays[f"{side}.pts"]) for result in probed for side in "ab")
    assert plan["frames"]["value"] == pytest.approx(frames, rel=0.01)
    assert plan["bytes_in"]["value"] == sum(p.stat().st_size for p in (tmp_path / "world").glob("*.[mw][pa][4v]"))
    assert plan["shard_bytes"]["value"] == pytest.approx(sum(shard.size for shard in info.shards), rel=0.05)
    steps = [folder for folder in work.iterdir() if folder.is_dir() and folder.name != "sheet"]  # of the report: twelve
    results = sum(p.stat().st_size for step in steps for p in step.rglob("*") if p.is_file())
    assert plan["result_bytes"]["value"] == pytest.approx(results, rel=0.05)
    predicted = plan["prepare_seconds"]["value"] + plan["collect_seconds"]["value"]
    assert predicted / 3 < took < predicted * 3
    shutil.rmtree(work)
