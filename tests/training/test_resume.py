"""Promise: stopping at a step and going on gives the bits of an uninterrupted run, for every stage."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from avatar_lab.data.map_batches import MapBatches
from avatar_lab.layout import Layout
from avatar_lab.training.fit import Fit, Machine
from avatar_lab.training.metrics_log import read_rows
from avatar_lab.training.muon import Muon
from avatar_lab.training.optimizer import AdamW, Cosine
from tests.factory import LAYOUT
from tests.training.resume import STEPS, assert_exact_resume
from tests.training.stages import STAGES, RandomDyads
from tests.training.toy import ToyItems, ToyStage

ADAMW = AdamW(lr=1e-2, schedule=Cosine(warmup_steps=2))


def toy_fit() -> Fit:
    return Fit(steps=STEPS, optimizers={"student": ADAMW, "critic": ADAMW}, ema_decay=0.9, log_every_steps=5)


def toy_data() -> MapBatches:
    return MapBatches(dataset=ToyItems(), batch_size=8)


def marks_of(stage: str) -> tuple[pytest.MarkDecorator, ...]:
    """Stages that roll out as ``self_forcing`` does wait for CI."""
    return (pytest.mark.ci,) if stage in ("long_tune", "preference", "see") else ()


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_toy_stage(tmp_path: Path, num_workers: int, number: signal.Signals) -> None:
    assert_exact_resume(
        stage=ToyStage,
        data=toy_data,
        fit=toy_fit(),
        layout=Layout(),
        out=tmp_path,
        num_workers=num_workers,
        number=number,
    )


@pytest.mark.parametrize("interrupt_at", range(0, STEPS - 1, 3))
def test_any_step(tmp_path: Path, interrupt_at: int) -> None:
    assert_exact_resume(
        stage=ToyStage, data=toy_data, fit=toy_fit(), layout=Layout(), out=tmp_path, interrupt_at=interrupt_at
    )


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name)) for name in STAGES])
def test_stage(tmp_path: Path, name: str) -> None:
    trained = STAGES[name](tmp_path).trained
    assert_exact_resume(
        stage=lambda: STAGES[name](tmp_path),
        data=RandomDyads,
        fit=Fit(steps=STEPS, optimizers=dict.fromkeys(trained, ADAMW), ema_decay=0.9, log_every_steps=5),
        layout=LAYOUT,
        out=tmp_path,
    )


@pytest.mark.parametrize("kind", [AdamW, Muon])
def test_a_changed_learning_rate_holds_when_a_run_goes_on(tmp_path: Path, kind: type[AdamW]) -> None:
    """The advice of ``update_guard.py``: lower it, and start again."""
    for steps, lr in ((2, 1e-2), (4, 1e-3)):
        optimizers = dict.fromkeys(("student", "critic"), kind(lr=lr))
        fit = Fit(steps=steps, optimizers=optimizers, ema_decay=0.9, log_every_steps=1)
        machine = Machine(accelerator="cpu")
        fit.run(stage=ToyStage(), data=toy_data(), layout=Layout(), out=tmp_path, seed=3, machine=machine)
    assert [row["critic/lr"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1e-2, 1e-2, 1e-3, 1e-3]
