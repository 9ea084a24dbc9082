"""What a run writes besides checkpoints: rows for sinks, sample media, offline wandb."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from avatar_lab.layout import Layout
from avatar_lab.training.checkpointing import CheckpointStore
from avatar_lab.training.fit import Fit, Machine
from avatar_lab.training.metrics_log import MetricsLog, read_rows
from avatar_lab.training.optimizer import AdamW
from avatar_lab.training.wandb_sink import WandbSink
from tests.factory import LAYOUT
from tests.training.stages import NUM_BLOCKS, STAGES, RandomDyads
from tests.training.test_resume import toy_data
from tests.training.toy import ToyStage

MACHINE = Machine(accelerator="cpu")


class Recorder:
    """A metric sink and a sample writer that remember what they were given."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, float]] = []
        self.config: Mapping[str, Any] = {}
        self.finished = False
        self.artefacts: list[Mapping[str, Any]] = []

    def start(self, *, folder: Path, config: Mapping[str, Any]) -> None:
        self.config = config

    def finish(self) -> None:
        self.finished = True

    def write(self, row: Mapping[str, float]) -> None:
        self.rows.append(row)


class Film(Recorder):
    def write(self, *, artefacts: Mapping[str, Any], folder: Path) -> None:  # type: ignore[override]
        self.artefacts.append(artefacts)
        torch.randn(5)  # whatever a writer draws must not reach training
        (folder / "film.txt").write_text("made")


def test_sinks_get_every_row_and_samples_come_at_the_end(tmp_path: Path) -> None:
    sink, film = Recorder(), Film()
    adamw = AdamW(lr=1e-2)
    fit = Fit(steps=5, optimizers={"student": adamw, "critic": adamw}, log_every_steps=2, sinks={"here": sink})
    run = {"layout": Layout(), "seed": 0, "machine": MACHINE, "config": {"a": 1}}
    fit.run(stage=ToyStage(), data=toy_data(), out=tmp_path / "a", samples=film, **run)
    assert [row["step"] for row in sink.rows] == [2, 4, 5]
    assert sink.rows == read_rows(tmp_path / "a" / "metrics.jsonl")
    assert (sink.config, sink.finished) == ({"a": 1}, True)
    assert (tmp_path / "a" / "samples" / "step_00000005" / "film.txt").exists()
    assert list(film.artefacts[0]) == ["student"]


def test_seconds_in_saves_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = CheckpointStore.save

    def slow(store: CheckpointStore, *state: Any, **step: Any) -> Path:
        time.sleep(0.2)
        return save(store, *state, **step)

    monkeypatch.setattr(CheckpointStore, "save", slow)
    adamw = AdamW(lr=1e-2)
    fit = Fit(steps=3, optimizers={"student": adamw, "critic": adamw}, checkpoint_minutes=0.0)
    seconds = fit.run(stage=ToyStage(), data=toy_data(), layout=Layout(), out=tmp_path, seed=0, machine=MACHINE).seconds
    assert 3 * 0.2 <= seconds["saving"] < seconds["all"]


class Jury:
    """Notes what it is asked; ``fails_at``: interrupted once, in the middle of that step."""

    every_steps = 2

    def __init__(self, fails_at: int | None = None) -> None:
        self.judged: list[tuple[int, list[str]]] = []
        self.fails_at = fails_at
        self.forgotten: list[int] = []

    def knows(self, step: int) -> bool:
        return any(step == known for known, _ in self.judged)

    def forget_after(self, step: int) -> None:
        self.forgotten.append(step)

    def judge(self, *, step: int, artefacts: Mapping[str, Any]) -> None:
        if step == self.fails_at:
            self.fails_at = None
            raise RuntimeError("killed")
        self.judged.append((step, list(artefacts)))
        torch.randn(5)


def test_steps_are_judged_now_and_then_and_at_the_end_and_training_does_not_notice(tmp_path: Path) -> None:
    jury, adamw = Jury(), AdamW(lr=1e-2)
    fit = Fit(steps=5, optimizers={"student": adamw, "critic": adamw}, log_every_steps=1)
    run = {"data": toy_data(), "layout": Layout(), "seed": 0, "machine": MACHINE}
    judged = fit.run(stage=ToyStage(), out=tmp_path / "a", judge=jury, **run)
    alone = fit.run(stage=ToyStage(), out=tmp_path / "b", **run)
    assert jury.judged == [(2, ["student"]), (4, ["student"]), (5, ["student"])]
    for own, other in zip(judged.roles.parameters(), alone.roles.parameters(), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("fails_at", [4, 5])
def test_a_judgement_that_was_interrupted_is_made_up_for(tmp_path: Path, fails_at: int) -> None:
    jury, adamw = Jury(fails_at), AdamW(lr=1e-2)
    fit = Fit(steps=5, optimizers={"student": adamw, "critic": adamw}, log_every_steps=1)
    run = {"data": toy_data(), "layout": Layout(), "seed": 0, "machine": MACHINE, "out": tmp_path}
    with pytest.raises(RuntimeError, match="killed"):
        fit.run(stage=ToyStage(), judge=jury, **run)
    fit.run(stage=ToyStage(), judge=jury, **run)
    assert [step for step, _ in jury.judged] == [2, 4, 5]
    assert jury.forgotten[0] == 0


def test_dialogue_hours_count_what_was_seen(tmp_path: Path) -> None:
    fit = Fit(steps=3, optimizers={"teacher": AdamW(lr=1e-3)}, log_every_steps=1)
    stage = STAGES["teacher"](tmp_path)
    fit.run(stage=stage, data=RandomDyads(), layout=LAYOUT, out=tmp_path / "a", seed=0, machine=MACHINE)
    row = read_rows(tmp_path / "a" / "metrics.jsonl")[-1]
    window = NUM_BLOCKS * float(LAYOUT.block_seconds)
    assert row["dialogue_hours"] == pytest.approx(3 * 2 * window / 3600)
    assert {"teacher/loss/audio", "teacher/loss/video", "teacher/lr", "teacher/grad_norm"} <= row.keys()


def test_a_mean_beyond_its_limits_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adamw = AdamW(lr=1e-3)
    alarms = {"critic/loss/error": (1e3, 1e4), "student/loss/error": (0.0, 1e9), "nobody/loss": (0.0, 1.0)}
    fit = Fit(steps=4, optimizers={"student": adamw, "critic": adamw}, log_every_steps=2, alarms=alarms)
    with caplog.at_level("WARNING", logger="avatar_lab.training.callbacks"):
        fit.run(stage=ToyStage(), data=toy_data(), layout=Layout(), out=tmp_path, seed=0, machine=MACHINE)
    said = [record.getMessage() for record in caplog.records if "training.alarms" in record.getMessage()]
    assert [text.split(":")[0] for text in said] == ["step 2", "step 4"]
    assert all("critic/loss/error" in text and "outside 1000 ... 10000" in text for text in said)


@pytest.mark.ci
def test_wandb_works_offline_and_keeps_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    sink = WandbSink()
    sink.start(folder=tmp_path, config={"steps": 1})
    sink.write({"step": 1, "loss": 2.0})
    sink.finish()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"x" * 40 not in path.read_bytes()


@pytest.mark.parametrize("broken", ["init", "log", "finish"])
def test_row_29_a_service_that_is_down_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    service = {"init": None, "log": lambda *_, **__: None, "finish": lambda: None} | {broken: fail}
    opened = SimpleNamespace(log=service["log"], finish=service["finish"])
    module = SimpleNamespace(init=service["init"] or (lambda **_: opened), Settings=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "wandb", module)
    adamw = AdamW(lr=1e-3)
    sinks = {"wandb": WandbSink(mode="online")}
    fit = Fit(steps=4, optimizers={"student": adamw, "critic": adamw}, log_every_steps=1, sinks=sinks)
    fit.run(stage=ToyStage(), data=toy_data(), layout=Layout(), out=tmp_path, seed=0, machine=MACHINE)
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    assert caplog.text.count("no route to host") == 1


def test_row_29_a_slow_service_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was warned of its end has two minutes; left alone, wandb waits until everything was sent."""
    settings = []
    monkeypatch.setattr("wandb.init", lambda **given: settings.append(given["settings"]))
    WandbSink(mode="online").start(folder=tmp_path, config={})
    assert 0 < settings[0].finish_timeout <= 30
    assert settings[0].init_timeout <= 60


class Warned(Film):
    """A film during which the job is warned of its end."""

    def write(self, *, artefacts: Mapping[str, Any], folder: Path) -> None:  # type: ignore[override]
        os.kill(os.getpid(), signal.SIGUSR1)


def test_a_warning_during_the_last_samples_is_not_forgotten(tmp_path: Path) -> None:
    """What follows, such as a gate, may take longer than the job has: the handler from before gets the signal."""
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        adamw = AdamW(lr=1e-2)
        fit = Fit(steps=2, optimizers={"student": adamw, "critic": adamw})
        run = {"layout": Layout(), "seed": 0, "machine": MACHINE, "samples": Warned()}
        assert fit.run(stage=ToyStage(), data=toy_data(), out=tmp_path, **run).exit_code == 0
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]
    assert CheckpointStore(tmp_path / "checkpoints", keep=1).latest_step() == 2


def test_row_9_rows_wait_for_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write({"step": 1})
    size = log.path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, limits[1]))
    try:
        log.write({"step": 2})
        assert log.path.stat().st_size == size, "no part of a row is left"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "rows wait for room on the disk" in caplog.text
    log.flush()
    log.write({"step": 3})
    assert [row["step"] for row in read_rows(log.path)] == [1, 2, 3]
    log.flush()
    assert len(read_rows(log.path)) == 3
