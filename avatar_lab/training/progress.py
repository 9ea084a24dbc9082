"""Progress on a terminal as a live bar, elsewhere (files, Slurm, CI) as one plain line now and then."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from avatar_lab.training import distributed
from avatar_lab.training.callbacks import stage_module

log = logging.getLogger(__name__)

SHOWN_TERMS = 4
"""Loss terms that fit on one line; all of them are in the log on disk."""


class ShowProgress(Callback):
    """Steps, seconds per step, time left, and the newest loss terms."""

    def __init__(self, *, every_seconds: float) -> None:
        self.every_seconds = every_seconds
        self._bar: Progress | None = None
        self._last = self._start = 0.0
        self._start_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = stage_module(pl_module)
        self._start = self._last = time.monotonic()
        self._start_step = module.train_step
        if sys.stdout.isatty() and distributed.rank() == 0:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[terms]}"))
            self._task = self._bar.add_task(
                module.stage.name, total=module.total_steps, completed=module.train_step, terms=""
            )
            self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = stage_module(pl_module)
        if distributed.rank() != 0:
            return
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=module.train_step, terms=shown_terms(module.latest))
        elif now - self._last >= self.every_seconds or module.train_step == module.total_steps:
            per_step = (now - self._start) / max(1, module.train_step - self._start_step)
            left = per_step * (module.total_steps - module.train_step)
            log.info(
                "%s %d/%d  %.3f s/step  %.0f s left  %s",
                module.stage.name, module.train_step, module.total_steps, per_step, left, shown_terms(module.latest),
            )  # fmt: skip
            self._last = now

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def shown_terms(latest: dict[str, float]) -> str:
    """The first loss terms as ``name value``."""
    terms = [(name, value) for name, value in latest.items() if "loss/" in name][:SHOWN_TERMS]
    return "  ".join(f"{name.replace('/loss', '')} {value:.4g}" for name, value in terms)
