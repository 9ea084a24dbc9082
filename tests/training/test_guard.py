"""Non-finite numbers never reach the weights; frozen networks never move."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from avatar_lab.layout import Layout
from avatar_lab.training.fit import Fit, FitResult, Machine
from avatar_lab.training.guard import FrozenGuard, NonFiniteGuard
from avatar_lab.training.metrics_log import read_rows
from avatar_lab.training.optimizer import AdamW
from tests.factory import random_batch
from tests.training.test_resume import toy_data
from tests.training.toy import ToyStage


def train(out: Path, stage: ToyStage, *, steps: int = 6, max_skipped_steps: int = 2) -> FitResult:
    adamw = AdamW(lr=1e-2)
    fit = Fit(
        steps=steps,
        optimizers={"student": adamw, "critic": adamw},
        log_every_steps=1,
        max_skipped_steps=max_skipped_steps,
    )
    machine = Machine(accelerator="cpu")
    return fit.run(stage=stage, data=toy_data(), layout=Layout(), out=out, seed=0, machine=machine)


def test_a_poisoned_step_is_skipped_and_written_down(tmp_path: Path) -> None:
    result = train(tmp_path, ToyStage(poisoned_steps=(2,)))
    assert result.steps_done == 6
    assert all(torch.isfinite(p).all() for p in result.roles.parameters())
    lines = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert [(line["step"], line["role"]) for line in lines] == [(2, "student")]
    row = next(row for row in read_rows(tmp_path / "metrics.jsonl") if row["step"] == 3)
    assert row["student/skipped"] == 1.0
    assert row["critic/loss/error"] > 0


def test_skipping_leaves_weights_as_they_were(tmp_path: Path) -> None:
    stage = ToyStage(poisoned_steps=(0, 2, 4))
    before = {name: p.detach().clone() for name, p in stage.roles["student"].named_parameters()}
    train(tmp_path, stage, max_skipped_steps=3)
    assert all(torch.equal(before[name], p) for name, p in stage.roles["student"].named_parameters())


def test_a_run_that_keeps_failing_stops(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="non-finite loss or gradient"):
        train(tmp_path, ToyStage(poisoned_steps=tuple(range(100))), steps=50)
    assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 3


def test_sample_ids_of_a_dialogue_batch_are_recorded(tmp_path: Path) -> None:
    guard = NonFiniteGuard(max_skipped_steps=5, folder=tmp_path)
    assert not guard.accepts(loss=torch.tensor(1.0), gradient_norm=torch.tensor(float("inf")))
    guard.record(step=7, role="teacher", scalars={"loss/audio": float("nan")}, batch=random_batch(size=2, seed=3))
    assert json.loads((tmp_path / "skipped.jsonl").read_text())["samples"] == [300, 301]


def test_old_skips_are_forgiven(tmp_path: Path) -> None:
    guard = NonFiniteGuard(max_skipped_steps=1, folder=tmp_path)
    for step in (0, 2000, 4000):
        guard.record(step=step, role="student", scalars={}, batch=None)
    assert guard.skipped == [4000]


def test_frozen_roles_may_not_move() -> None:
    roles = nn.ModuleDict({"teacher": nn.Linear(3, 3).requires_grad_(False), "student": nn.Linear(3, 3)})
    guard = FrozenGuard(roles)
    with torch.no_grad():
        roles["student"].weight.add_(1.0)
    guard.check()
    with torch.no_grad():
        roles["teacher"].weight[0, 0] += 1e-7
    with pytest.raises(RuntimeError, match=r"teacher\.weight"):
        guard.check()


def test_optimisers_must_match_trained_roles(tmp_path: Path) -> None:
    fit = Fit(steps=1, optimizers={"student": AdamW(lr=1e-3)})
    with pytest.raises(ValueError, match=r"trains \['critic', 'student'\] but training.optimizers names \['student'\]"):
        fit.run(
            stage=ToyStage(), data=toy_data(), layout=Layout(), out=tmp_path, seed=0, machine=Machine(accelerator="cpu")
        )
