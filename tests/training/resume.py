"""The exact-resume experiment: 12 steps in one go against 6, a signal, and 6 more."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from avatar_lab.layout import Layout
from avatar_lab.training.checkpointing import CheckpointStore
from avatar_lab.training.fit import Fit, Machine
from avatar_lab.training.metrics_log import read_rows
from tests.training.toy import InterruptedBy

STEPS = 12
STATE = ("roles", "averages", "optimizers", "generators", "means", "frozen", "skipped", "levels")
"""Parts of a checkpoint."""
TIMES = ("seconds",)
"""Columns of the log that measure wall time and so differ between runs."""


def digest(value: Any) -> str:
    """sha256 over tensors (bits, shape, type) and plain values, nested in dicts and lists."""
    state = hashlib.sha256()

    def feed(item: Any) -> None:
        if isinstance(item, torch.Tensor):
            state.update(f"{item.dtype}{tuple(item.shape)}".encode())
            state.update(item.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(item, dict):
            for key in sorted(item, key=str):
                state.update(str(key).encode())
                feed(item[key])
        elif isinstance(item, (list, tuple)):
            for part in item:
                feed(part)
        else:
            state.update(repr(item).encode())

    feed(value)
    return state.hexdigest()


def run_digests(out: Path) -> dict[str, str]:
    """Digest of each part of the final checkpoint and of the log."""
    state = CheckpointStore(out / "checkpoints", keep=2).load_latest()
    assert state is not None
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in read_rows(out / "metrics.jsonl")]
    parts = {name: digest(state[name]) for name in STATE}
    return parts | {"metrics": digest(rows), "steps": str([row["step"] for row in rows])}


def assert_exact_resume(
    *,
    stage: Callable[[], Any],
    data: Callable[[], Any],
    fit: Fit,
    layout: Layout,
    out: Path,
    num_workers: int = 0,
    interrupt_at: int = 5,
    number: signal.Signals = signal.SIGINT,
) -> None:
    """Train straight through and with an interrupt; every digest must agree."""
    machine = Machine(accelerator="cpu", num_workers=num_workers)

    def run(folder: Path, source: Any) -> Any:
        return fit.run(stage=stage(), data=source, layout=layout, out=folder, seed=3, machine=machine)

    assert run(out / "straight", data()).steps_done == fit.steps
    first = run(out / "resumed", InterruptedBy(data(), interrupt_at, number))
    assert interrupt_at + 1 <= first.steps_done < fit.steps
    assert first.exit_code == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 99}[number]
    torch.randn(17)
    second = run(out / "resumed", data())
    assert (second.steps_done, second.exit_code) == (fit.steps, 0)
    assert run_digests(out / "straight") == run_digests(out / "resumed")
