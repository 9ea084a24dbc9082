"""Run folders as a table and as text: what a run is, where it comes from, how two of them differ."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from avatar_lab import runs
from avatar_lab.checkpoint import read_card
from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.config import load, write_resolved
from avatar_lab.level import Level
from avatar_lab.run_folder import claim, finish
from avatar_lab.run_table import runs_df
from avatar_lab.stage.start import Setting, fresh
from tests.training.stages import NUM_BLOCKS, SIZE, fake_codecs

BAR = {"agent": "level2", "metric": "nod_response", "rule": ">= 0.5 x delayed_oracle", "observed": "0.2 of 0.7"}


def write_run(run: Path, stage: str, *overrides: str, steps: int, done: bool = True) -> None:
    """A run of the quickstart with logged rows, and a checkpoint if it is done."""
    config = load([f"experiment=quickstart/{stage}", f"root={run.parent}", *overrides])
    claim(run, config)
    rows = [
        {"step": step, "seconds": step / 2, f"{stage}/loss/video": 1 / step, f"{stage}/lr": 0.1} for step in (5, steps)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if done:
        made = fresh(size=SIZE, level=Level.TALK, window_blocks=NUM_BLOCKS, setting=Setting(**fake_codecs()))
        descended = replace(made, card=made.descend(stage=stage))
        finish(run, {stage: descended, "codec": TinyAudio.load()}, steps=steps)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_run(tmp_path / "teacher", "teacher", "training.steps=40", steps=40)
    gate = "gate={artefact: autoregressive, evaluate: {}, bars: [{metric: nod_response, at_least: 0.1}]}"
    write_run(tmp_path / "deep" / "again", "autoregressive", "seed=3", gate, steps=20, done=False)
    return tmp_path


def test_one_row_per_run_in_order(root: Path) -> None:
    table = runs_df(root)
    assert table.run.tolist() == ["teacher", "deep/again"]
    assert table.stage.tolist() == ["teacher", "autoregressive"]
    assert table.state.tolist() == ["done", "open"]
    assert table.step.tolist() == [40, 20]
    assert table.steps[0] == 40
    assert table.seed.tolist() == [0, 3]
    assert table.seconds.tolist() == [20.0, 10.0]
    assert table.gate.tolist() == ["none", "not judged"]
    assert table["teacher/loss/video"][0] == 1 / 40
    assert pd.isna(table["teacher/loss/video"][1])
    assert "teacher/lr" not in table
    for passed, gate, state in ((True, "passed", "open"), (False, "failed", "shut"), (None, "failed", "shut")):
        (root / "deep" / "again" / "gate.json").write_text(json.dumps([BAR | {"passed": passed}]))
        assert (runs_df(root).gate[1], runs_df(root).state[1]) == (gate, state)


def test_no_runs_and_damaged_ones_are_said(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no run folders below .*empty: give the folder .* avatar-lab train"):
        runs_df(tmp_path / "empty")
    (root / "teacher" / "starts.jsonl").write_text('{"time": \n{}\n')
    with pytest.raises(ValueError, match=r"starts.jsonl is damaged .* move the run away"):
        runs_df(root)
    (root / "teacher" / "starts.jsonl").write_text("")
    with pytest.raises(ValueError, match="does not say how it was started"):
        runs_df(root)


def test_a_run_that_waits_for_a_cluster_is_told(root: Path) -> None:
    config = load(["experiment=quickstart/see", f"root={root}"])
    write_resolved(root / "see" / "submitted", config)
    assert list(runs.table(root))[2:] == [f"submitted, not begun: {root}/see"]
    with pytest.raises(ValueError, match="was submitted and has not begun: squeue"):
        list(runs.follow(root / "see", rows=1, keep_on=False))
    claim(root / "see", config)
    assert [line.split()[0] for line in runs.table(root)] == ["open", "open", "done"]


def test_a_run_is_shown_with_config_lineage_gate_and_metrics(root: Path) -> None:
    shown = runs.details(root / "teacher")
    lines = shown.splitlines()
    assert lines[0].startswith("done        40/40 ")
    assert all(len(line) <= 118 for line in lines if line.startswith(("stage ", "model ", "layout ", "data ")))
    assert "stage       Teacher " in shown
    assert "audio_codec=TinyAudio" in shown
    assert "_target_" not in shown
    ancestor = read_card(root / "teacher" / "teacher.safetensors").lineage
    assert f"descends from {ancestor[0]}" in shown
    assert "codec.safetensors: fingerprint " in shown
    assert "step 40 of 40, 20 s" in shown
    assert "teacher/loss/video                       0.025" in shown
    again = root / "deep" / "again"
    assert "gate not judged" in runs.details(again)
    (again / "gate.json").write_text(json.dumps([BAR | {"passed": False}]))
    assert "failed    level2 nod_response: 0.2 of 0.7 (>= 0.5 x delayed_oracle)" in runs.details(again)
    with pytest.raises(ValueError, match="is not a run folder"):
        runs.details(root / "deep")


def test_a_difference_is_of_config_and_metrics(root: Path) -> None:
    write_run(root / "longer", "teacher", "training.steps=50", "seed=1", steps=50)
    text = runs.comparison(root / "teacher", root / "longer")
    assert "  seed: 0 -> 1\n" in text
    assert "  training.steps: 40 -> 50\n" in text
    assert "layout" not in text
    (losses,) = (line.split() for line in text.splitlines() if "loss/video" in line)
    assert losses == ["teacher/loss/video", "0.025", "0.02", "-0.005"]
    assert "teacher/lr" not in text
    assert runs.comparison(root / "teacher", root / "teacher") == "config: no difference\nmetrics: no difference"
    other = runs.comparison(root / "teacher", root / "deep" / "again")
    assert any(line.split() == ["autoregressive/lr", "-", "0.1"] for line in other.splitlines())


def test_a_card_is_read_without_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    made = fresh(size=SIZE, level=Level.TALK, window_blocks=NUM_BLOCKS, setting=Setting(**fake_codecs()))
    made.save(path)
    assert read_card(path) == made.card
    with pytest.raises(ValueError, match="there is no checkpoint"):
        read_card(tmp_path / "y.safetensors")


def test_tail_shows_the_newest_rows_and_then_what_comes_until_the_run_is_done(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = root / "deep" / "again"
    shown = list(runs.follow(run, rows=1, keep_on=False))
    assert len(shown) == 1
    assert shown[0].startswith("20/")
    assert "autoregressive/loss/video 0.05" in shown[0]

    def later(seconds: float) -> None:
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": 21, "seconds": 11.0, "autoregressive/loss/video": 0.5}) + "\n")
        (run / "done.json").write_text("{}")

    monkeypatch.setattr(runs.time, "sleep", later)
    assert [line.split("/")[0] for line in runs.follow(run, rows=1, keep_on=True)] == ["20", "21"]
