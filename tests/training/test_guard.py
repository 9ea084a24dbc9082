"""Non-finite numbers never reach the weights, spikes are told; frozen networks never move."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from avatar_lab.layout import Layout
from avatar_lab.training.fit import Fit, FitResult, Machine
from avatar_lab.training.guard import FrozenGuard
from avatar_lab.training.metrics_log import read_rows
from avatar_lab.training.optimizer import AdamW
from avatar_lab.training.update_guard import FIRST_UPDATES, Oddity, UpdateGuard
from tests.factory import random_batch
from tests.training.test_resume import toy_data
from tests.training.toy import ToyStage


def train(out: Path, stage: ToyStage, *, steps: int = 6, max_skipped_steps: int = 2, **spikes: Any) -> FitResult:
    adamw = AdamW(lr=1e-2)
    fit = Fit(
        steps=steps,
        optimizers={"student": adamw, "critic": adamw},
        log_every_steps=1,
        max_skipped_steps=max_skipped_steps,
        **spikes,
    )
    machine = Machine(accelerator="cpu")
    return fit.run(stage=stage, data=toy_data(), layout=Layout(), out=out, seed=0, machine=machine)


def odd_steps(out: Path) -> list[tuple[int, str, str, bool]]:
    rows = [json.loads(line) for line in (out / "odd_steps.jsonl").read_text().splitlines()]
    return [(row["step"], row["role"], row["oddity"], row["left_out"]) for row in rows]


def test_a_poisoned_step_is_skipped_and_written_down(tmp_path: Path) -> None:
    result = train(tmp_path, ToyStage(poisoned_steps=(2,)))
    assert result.steps_done == 6
    assert all(torch.isfinite(p).all() for p in result.roles.parameters())
    assert odd_steps(tmp_path) == [(2, "student", "non-finite", True)]
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
    assert len((tmp_path / "odd_steps.jsonl").read_text().splitlines()) == 3


def test_sample_ids_of_a_dialogue_batch_are_recorded(tmp_path: Path) -> None:
    guard = UpdateGuard(max_skipped_steps=5, folder=tmp_path)
    norm = torch.tensor(float("inf"))
    assert guard.look(role="teacher", loss=torch.tensor(1.0), gradient_norm=norm) is Oddity.NON_FINITE
    guard.record(
        Oddity.NON_FINITE,
        step=7,
        role="teacher",
        scalars={"loss/audio": float("nan")},
        batch=random_batch(size=2, seed=3),
    )
    assert json.loads((tmp_path / "odd_steps.jsonl").read_text())["samples"] == [300, 301]


def test_old_skips_are_forgiven(tmp_path: Path) -> None:
    guard = UpdateGuard(max_skipped_steps=1, folder=tmp_path)
    for step in (0, 2000, 4000):
        guard.record(Oddity.NON_FINITE, step=step, role="student", scalars={}, batch=None)
    assert guard.skipped == [4000]


LATE = 2 * FIRST_UPDATES + 10
"""A step at which the student, who is updated every second step, has a level."""


@pytest.mark.parametrize("skip", [False, True])
def test_row_20_a_spike_is_told_with_its_samples_and_left_out_if_asked(
    tmp_path: Path, skip: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stage = ToyStage(poisoned_steps=(LATE,), poison=1e5)
    before: dict[int, torch.Tensor] = {}
    turns = stage.turns

    def watched(batch: Any, step: int, rng: torch.Generator) -> Any:
        before[step] = stage.roles["student"][0].weight.detach().clone()
        return turns(batch, step, rng)

    stage.turns = watched  # type: ignore[method-assign]
    train(tmp_path, stage, steps=LATE + 3, skip_spikes=skip)
    assert odd_steps(tmp_path) == [(LATE, "student", "spike", skip)]
    assert torch.equal(before[LATE], before[LATE + 1]) == skip
    assert ("left out" if skip else "clipped and made") in caplog.text


def test_spikes_are_measured_against_a_level_that_follows(tmp_path: Path) -> None:
    guard = UpdateGuard(max_skipped_steps=5, folder=tmp_path, spike_factor=10.0)

    def spikes(*norms: float) -> list[bool]:
        loss = torch.tensor(1.0)
        return [guard.look(role="x", loss=loss, gradient_norm=torch.tensor(n)) is Oddity.SPIKE for n in norms]

    assert not any(spikes(1e3, *[1.0, 3.0] * FIRST_UPDATES))
    assert spikes(15.0, 19.0, 1.0, 0.0) == [False, True, False, False]
    assert not spikes(*[100.0] * 200)[-1], "what has become usual is no spike"


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
