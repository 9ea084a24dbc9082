"""What happens between steps: log rows, checkpoints, sample media, and leaving in an orderly way."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from avatar_lab.training import distributed
from avatar_lab.training.interrupts import EXIT_CODES, Interrupts
from avatar_lab.training.metrics_log import MetricsLog
from avatar_lab.training.module import StageModule
from avatar_lab.training.protocol import MetricSink, SampleWriter, StepJudge
from avatar_lab.training.state_files import StateFiles

log = logging.getLogger(__name__)

WARNING_VARIABLE = "AVATAR_LAB_WARNING_SECONDS"
"""Where a job script says how long before its time limit Slurm warns (``cluster.warning_seconds``)."""


def stage_module(module: LightningModule) -> StageModule:
    """The module as what it is; Lightning's hooks only promise the base class."""
    assert isinstance(module, StageModule)
    return module


class Clock:
    """Wall seconds of training, earlier parts of a resumed run included."""

    def __init__(self) -> None:
        self._origin = time.monotonic()

    def start(self, already: float) -> None:
        self._origin = time.monotonic() - already

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._origin


class Resume(Callback):
    """Restores the latest checkpoint before data loaders are built, and says what was restored."""

    def __init__(self, state: StateFiles, metrics: MetricsLog, clock: Clock, *, enabled: bool) -> None:
        self.state, self.metrics, self.clock, self.enabled = state, metrics, clock, enabled

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = stage_module(pl_module)
        if self.enabled and self.state.restore(module):
            if module.train_step > module.total_steps:
                raise ValueError(
                    f"{self.state.store.folder} is at step {module.train_step} already, beyond training.steps="
                    f"{module.total_steps}: raise it, or start anew with another out="
                )
            followers = [follower.role for follower in module.stage.followers]
            log.info(
                "restored step %d of %d: roles %s, averages %s, optimisers, generators, data cursor",
                module.train_step, module.total_steps, sorted([*module.stage.trained, *followers]),
                sorted(module.averages),
            )  # fmt: skip
        if distributed.rank() == 0:
            self.clock.start(self.metrics.rewind(module.train_step))


class WriteMetrics(Callback):
    """Every ``every_steps`` steps a row of running means, to the log on disk and to further sinks.

    alarms  by name of a mean, the limits beyond which a warning is logged
    """

    def __init__(
        self,
        metrics: MetricsLog,
        sinks: Sequence[MetricSink],
        clock: Clock,
        *,
        every_steps: int,
        alarms: Mapping[str, tuple[float, float]],
    ) -> None:
        self.metrics, self.sinks, self.clock = metrics, sinks, clock
        self.every_steps, self.alarms = every_steps, alarms

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = stage_module(pl_module)
        if module.train_step % self.every_steps and module.train_step < module.total_steps:
            return
        means = module.means.flush()
        if distributed.rank() != 0:
            return
        row = {"step": module.train_step, "seconds": round(self.clock.seconds, 3)}
        if module.dialogue_seconds:
            row["dialogue_hours"] = module.dialogue_seconds / 3600
        for name, (low, high) in self.alarms.items():
            if name in means and not low <= means[name] <= high:
                log.warning(
                    "step %d: %s is %.3g, outside %g ... %g (training.alarms)",
                    module.train_step, name, means[name], low, high,
                )  # fmt: skip
        self.metrics.write(row | means)
        for sink in self.sinks:
            sink.write(row | means)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Behind the last checkpoint, which may have made room."""
        self.metrics.flush()


class Checkpoints(Callback):
    """Saves every ``every_minutes``, at the end, and when asked to stop; leaves the loop in that case. With
    ``every_steps`` then too: before a judgement, which takes minutes. Says once if that may not end before Slurm's time
    limit."""

    def __init__(
        self, state: StateFiles, interrupts: Interrupts, *, every_minutes: float, every_steps: int | None
    ) -> None:
        self.state, self.interrupts, self.every_seconds = state, interrupts, every_minutes * 60
        self.every_steps = every_steps
        self.seconds = 0.0
        """Spent in saves."""
        self._last = time.monotonic()
        self._warning_seconds = float(os.environ.get(WARNING_VARIABLE, math.inf))
        self._step_began: float | None = None
        """None before the first step, which compiles and is far from the limit, and before a judgement."""
        self._longest_step = 0.0
        """Since the last save; samples count, since a signal waits for them too."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.interrupts.arm()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = stage_module(pl_module)
        stop = self._agreed(module)
        due = distributed.any_rank(time.monotonic() - self._last >= self.every_seconds, module.device)
        judged = self.every_steps is not None and module.train_step % self.every_steps == 0
        began = time.monotonic()
        if self._step_began is not None:
            self._longest_step = max(self._longest_step, began - self._step_began)
        if stop is not None or due or judged or module.train_step == module.total_steps:
            self.state.save(module)
            self._last = time.monotonic()
            self.seconds += self._last - began
            self._compare_with_warning(self._last - began)
        self._step_began = None if judged else time.monotonic()
        if stop is not None:
            distributed.any_rank(False, module.device)  # a launcher may end all ranks soon after the first has left
            trainer.should_stop = True
            log.info(
                "stopped after step %d by %s; the same command goes on from here (exit code %d)",
                module.train_step, stop.name, EXIT_CODES[stop],
            )  # fmt: skip

    def _compare_with_warning(self, save: float) -> None:
        """Say once if a stop might not be over before the time limit; ``save`` in seconds."""
        needed = save + self._longest_step
        if needed > self._warning_seconds / 2 and distributed.rank() == 0:
            log.warning(
                "this save took %.1f s and the longest step before it %.1f s, more than half of the %g s between "
                "Slurm's warning and the time limit: a stop may end as TIMEOUT; submit with cluster.warning_seconds=%d",
                save, self._longest_step, self._warning_seconds, math.ceil(2 * needed / 60) * 60,
            )  # fmt: skip
            self._warning_seconds = math.inf
        self._longest_step = 0.0

    def _agreed(self, module: StageModule) -> signal.Signals | None:
        """The signal that any rank received, the same on all of them: they leave with the same exit code."""
        number = distributed.largest(self.interrupts.received or 0, module.device)
        if not number:
            return None
        self.interrupts.agreed = signal.Signals(number)
        return self.interrupts.agreed


class Samples(Callback):
    """Every ``every_minutes`` and at the end, media written from the averaged networks into ``samples/step_N``."""

    def __init__(self, writer: SampleWriter, folder: Path, *, every_minutes: float) -> None:
        self.writer, self.folder, self.every_seconds = writer, folder, every_minutes * 60
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = stage_module(pl_module)
        due = time.monotonic() - self._last >= self.every_seconds or module.train_step == module.total_steps
        due = due and not trainer.should_stop  # who was asked to stop has no minutes left
        if module.sharded:
            due = distributed.any_rank(due, module.device)
        if not due or (distributed.rank() != 0 and not module.sharded):
            return
        self._last = time.monotonic()
        roles = module.averaged_roles()
        if distributed.rank() != 0:
            return
        folder = self.folder / f"step_{module.train_step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        self.writer.write(artefacts=module.stage.export(roles), folder=folder)
        log.info("wrote samples to %s", folder)
        self._last = time.monotonic()


class Judging(Callback):
    """Every ``judge.every_steps`` steps and at the end: how good is what the stage would export now?

    A step that was saved and not judged before a run was stopped is judged when it goes on: at ``on_fit_start``, behind
    :class:`Resume`, since the hooks of training are left out where no step is left to train.
    """

    def __init__(self, judge: StepJudge, interrupts: Interrupts) -> None:
        self.judge, self.interrupts = judge, interrupts

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module = stage_module(pl_module)
        if distributed.rank() == 0:
            self.judge.forget_after(module.train_step)
        self.catch_up(module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.should_stop:
            self.catch_up(stage_module(pl_module))

    def catch_up(self, module: StageModule) -> None:
        """Judge the present step if it is due.

        It takes longer than a warning leaves, and its step is saved, so a signal ends it: on all ranks, each of which
        gets the signal from Slurm. One that went on would wait in vain for the first, in a collective.
        """
        step, first = module.train_step, distributed.rank() == 0
        if step == 0 or (step % self.judge.every_steps and step != module.total_steps):
            return
        if not distributed.any_rank(first and not self.judge.knows(step), module.device):
            return
        with self.interrupts.disarmed():
            if first:
                self.judge.judge(step=step, artefacts=module.stage.export(module.averaged_roles()))
            elif module.sharded:
                module.averaged_roles()  # the first gathers everybody's parts
            distributed.any_rank(False, module.device)  # here the others wait for the first
