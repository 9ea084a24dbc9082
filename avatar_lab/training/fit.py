"""Settings of the training loop and the one function that runs a stage with them."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment
from torch import nn

from avatar_lab.layout import Layout
from avatar_lab.precision import fast_bfloat16
from avatar_lab.stage.protocol import Stage
from avatar_lab.training import distributed
from avatar_lab.training.callbacks import Checkpoints, Clock, Judging, Resume, Samples, WriteMetrics
from avatar_lab.training.datamodule import StageData
from avatar_lab.training.interrupts import EXIT_CODES, Interrupts
from avatar_lab.training.metrics_log import MetricsLog
from avatar_lab.training.module import StageModule
from avatar_lab.training.optimizer import AdamW
from avatar_lab.training.progress import ShowProgress
from avatar_lab.training.protocol import BatchSource, MetricSink, SampleWriter, StepJudge
from avatar_lab.training.sharding import STRATEGIES, strategy_of
from avatar_lab.training.stall import StallWatch
from avatar_lab.training.state_files import StateInParts, WholeState
from avatar_lab.training.update_guard import UpdateGuard

PRECISIONS = ("auto", "32-true", "bf16-mixed", "64-true")
"""Half precision that needs loss scaling is left out: turns step their optimisers themselves."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a run takes place; the only settings that a move to another machine may change.

    Raises:
        ValueError: the precision is not supported.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    precision: str = "32-true"
    """One of ``PRECISIONS``; ``auto``: bfloat16 products where the device multiplies them fast, fp32 elsewhere."""
    num_workers: int = 0
    """Loader processes per rank; does not change which batches come."""
    strategy: str = "replicas"
    """One of ``STRATEGIES``: whole networks on every device, or their weights shared out (``training/sharding.py``)."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"cluster.machine.precision {self.precision!r} is not one of {PRECISIONS}")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"cluster.machine.strategy {self.strategy!r} is not one of {STRATEGIES}")

    def lightning_precision(self) -> str:
        """``precision`` with ``auto`` resolved on this machine."""
        if self.precision != "auto":
            return self.precision
        cuda = self.accelerator != "cpu" and torch.cuda.is_available()
        return "bf16-mixed" if fast_bfloat16("cuda" if cuda else "cpu") else "32-true"


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """How training ended."""

    steps_done: int
    exit_code: int
    """0, or the code of the signal that asked for a stop."""
    roles: nn.ModuleDict
    """The networks for export: averaged where there is an average."""
    seconds: dict[str, float]
    """Wall seconds of this start: ``all`` from the loop's set-up to its end, and those of them spent ``saving``."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The training loop. ``steps`` counts batches, whatever the number of roles that take turns on each; without any,
    a stage exports what it starts as.

    Raises:
        ValueError: ``accumulate`` is below 1, or ``steps`` below 0.
    """

    steps: int
    optimizers: dict[str, AdamW]
    """One per trained role of the stage."""
    accumulate: int = 1
    """Micro-batches per step and rank; roles take their turns over all of them before the next role's."""
    checkpoint_activations: bool = False
    """Compute each transformer layer again in the backward pass instead of remembering its inside."""
    ema_decay: float = 0.999
    log_every_steps: int = 10
    progress_seconds: float = 20.0
    checkpoint_minutes: float = 15.0
    sample_minutes: float = 10.0
    keep_checkpoints: int = 2
    max_skipped_steps: int = 20
    spike_factor: float | None = 10.0
    """A gradient norm so many times its recent level is a spike: a warning, and a row in ``odd_steps.jsonl``."""
    skip_spikes: bool = False
    """Leave their updates out; they then count as skipped."""
    stall_minutes: float | None = 60.0
    """A rank that ends no step for so long writes where each of its threads is, and ends with exit code 1. Judgements
    and samples between two steps count, and so does a time in which the process was suspended (SIGSTOP; Slurm's
    PreemptMode=SUSPEND), so it must be longer than they are; ``None``: never, ranks then wait a week."""
    alarms: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Limits of logged means, beyond which a warning says so."""
    sinks: dict[str, MetricSink] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ValueError(f"training.accumulate {self.accumulate} must be at least 1, the batch as a whole")
        if self.steps < 0:
            raise ValueError(f"training.steps {self.steps} must be 0 or more")
        if self.spike_factor is not None and self.spike_factor <= 1:
            raise ValueError(f"training.spike_factor {self.spike_factor} must be above 1, or null to look for none")
        if self.stall_minutes is not None and self.stall_minutes <= 0:
            raise ValueError(f"training.stall_minutes {self.stall_minutes} must be above 0, or null to wait for ever")

    def run(
        self,
        *,
        stage: Stage,
        data: BatchSource,
        layout: Layout,
        out: Path,
        seed: int,
        machine: Machine,
        resume: bool = True,
        samples: SampleWriter | None = None,
        judge: StepJudge | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> FitResult:
        """Train ``stage`` until all steps are done or a signal asks to stop, from the latest checkpoint in ``out`` on.

        Raises:
            ValueError: the checkpoint in ``out`` does not fit this stage.
            RuntimeError: too many non-finite steps, or a frozen network changed.
        """
        out.mkdir(parents=True, exist_ok=True)
        module = StageModule(
            stage=stage,
            optimizers=self.optimizers,
            layout=layout,
            seed=seed,
            total_steps=self.steps,
            ema_decay=self.ema_decay,
            guard=UpdateGuard(
                max_skipped_steps=self.max_skipped_steps,
                folder=out,
                spike_factor=self.spike_factor,
                skip_spikes=self.skip_spikes,
            ),
            accumulate=self.accumulate,
            sharded=machine.strategy == "sharded",
            recompute_layers=self.checkpoint_activations,
        )
        source = StageData(
            source=data,
            start_step=lambda: module.train_step,
            total_steps=self.steps,
            num_workers=machine.num_workers,
        )
        interrupts = Interrupts()
        sinks = list(self.sinks.values()) if distributed.rank() == 0 else []
        for sink in sinks:
            sink.start(folder=out, config=dict(config or {}))
        judging = [] if judge is None else [Judging(judge, interrupts)]
        every_steps = None if judge is None else judge.every_steps
        callbacks = [*self._callbacks(out, machine, interrupts, sinks, samples, resume, every_steps), *judging]
        # ranks wait longer than the watch does, so that those who wait say where before they are given up
        patience = timedelta(minutes=self.stall_minutes + 10) if self.stall_minutes else timedelta(days=7)
        trainer = _trainer(machine, callbacks, out, patience=patience)
        began = time.monotonic()
        if self.steps:
            with interrupts:
                trainer.fit(module, datamodule=source)
            if interrupts.agreed is None:
                interrupts.raise_unseen()
        saving = sum(each.seconds for each in callbacks if isinstance(each, Checkpoints))
        seconds = {"all": round(time.monotonic() - began, 3), "saving": round(saving, 3)}
        module.frozen.check()
        for sink in sinks:
            sink.finish()
        exit_code = EXIT_CODES[interrupts.agreed] if interrupts.agreed else 0
        roles = module.averaged_roles()
        return FitResult(steps_done=module.train_step, exit_code=exit_code, roles=roles, seconds=seconds)

    def _callbacks(
        self,
        out: Path,
        machine: Machine,
        interrupts: Interrupts,
        sinks: list[MetricSink],
        samples: SampleWriter | None,
        resume: bool,
        every_steps: int | None,
    ) -> list[Callback]:
        clock, metrics = Clock(), MetricsLog(out / "metrics.jsonl")
        kind: type[WholeState | StateInParts] = StateInParts if machine.strategy == "sharded" else WholeState
        state = kind(out / "checkpoints", keep=self.keep_checkpoints)
        callbacks: list[Callback] = [
            Resume(state, metrics, clock, enabled=resume),
            WriteMetrics(metrics, sinks, clock, every_steps=self.log_every_steps, alarms=self.alarms),
            ShowProgress(every_seconds=self.progress_seconds),
            Checkpoints(state, interrupts, every_minutes=self.checkpoint_minutes, every_steps=every_steps),
        ]
        if self.stall_minutes is not None:
            callbacks.append(StallWatch(out / "stalled", seconds=self.stall_minutes * 60))
        if samples is not None:
            callbacks.append(Samples(samples, out / "samples", every_minutes=self.sample_minutes))
        return callbacks


def _trainer(machine: Machine, callbacks: list[Callback], out: Path, *, patience: timedelta) -> Trainer:
    """Lightning's loop with everything that we do ourselves switched off; ranks wait ``patience`` for each other."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")  # RMS norm of bfloat16 by fp32
    # Lightning would save inside the signal handler, in the middle of a step; the sbatch script requeues instead
    slurm = SLURMEnvironment(auto_requeue=False) if SLURMEnvironment.detect() else None
    return Trainer(
        accelerator=machine.accelerator,
        devices=machine.devices,
        strategy=strategy_of(machine.strategy, machine.devices * machine.num_nodes, patience),
        num_nodes=machine.num_nodes,
        precision=machine.lightning_precision(),  # type: ignore[arg-type]
        max_epochs=1,
        callbacks=callbacks,
        plugins=slurm,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=out,
    )
