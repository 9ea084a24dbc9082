"""Keeping the best by a metric, not the last by step: distillation peaks early and swings.

    judge:
      artefact: level2
      metric: backchannel_response
      every_steps: 20
      evaluate: {num_dyads: 16, seconds: 54} # split: val, where the data have one

Every so many steps, and at the end, what the stage would export is rolled out on the validation split, on the CPU of
the first rank while the others wait (on its GPU, where that has room for it, with ``evaluate: {device: cuda}``). Values
lie in ``<out>/judged.jsonl``, rows of all metrics beside them in ``<out>/judged``: ``avatar_lab.evaluation.reading``
compares steps as it compares checkpoints. The artefacts of a finished run are those of its best step. A signal ends a
judgement at once: its step is saved, and judged when the run goes on.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avatar_lab.checkpoint import Checkpoint, load_checkpoint
from avatar_lab.config import RunConfig, check_keys
from avatar_lab.evaluation.digits import limits
from avatar_lab.evaluation.estimates import estimate_metric
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.training.checkpointing import write_atomically
from avatar_lab.training.metrics_log import read_rows
from avatar_lab.validation import check_validation, settings, validate

log = logging.getLogger(__name__)

DECISIVE = ("split", "num_dyads", "seconds", "offline_dyads", "device", "plugins")
"""Settings of an evaluation that a value depends on; the others are paths, media and pace."""


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Key ``judge`` of a run.

    Raises:
        ValueError: the metric is unknown, or neither high nor low values of it are better.
    """

    artefact: str
    """Which of the stage's artefacts is rolled out."""
    metric: str
    every_steps: int
    evaluate: dict[str, Any] = field(default_factory=dict)
    """Keys of ``configs/evaluate.yaml``."""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"judge by unknown metric {self.metric!r}; there are {sorted(METRICS)}")
        if METRICS[self.metric].higher_better is None:
            raise ValueError(f"judge.metric={self.metric}: neither high nor low values of it are better; take another")
        if self.every_steps < 1:
            raise ValueError(f"judge.every_steps={self.every_steps} must be at least 1")


class Judge:
    """Judges steps of one run and remembers them on disk, so that a resumed run goes on judging.

    Raises:
        ValueError: a key is unknown or missing, the metric cannot judge, or the run has no prepared data set.
    """

    def __init__(self, config: RunConfig) -> None:
        plain = dict(config.judge or {})
        check_keys(plain, JudgeConfig, "a judge")
        missing = {"artefact", "metric", "every_steps"} - plain.keys()
        if missing:
            raise ValueError(f"a judge needs {', '.join(sorted(missing))}")
        self.config, self.run = JudgeConfig(**plain), config
        self.every_steps = self.config.every_steps
        out = Path(config.out)
        self.log, self.folder = out / "judged.jsonl", out / "judged"
        # with one worker, this process: a signal that ends it leaves no others behind
        self.evaluate = settings(config, {"workers": 1} | self.config.evaluate)
        """All settings, those of ``configs/evaluate.yaml`` too."""
        self.asked: dict[str, Any] = {
            "artefact": self.config.artefact,
            "metric": self.config.metric,
            "evaluate": {name: self.evaluate[name] for name in DECISIVE},
        }
        """What a value depends on; values of another question do not compete."""

    def check(self) -> None:
        """Refuse a judge that could not judge, before anything is trained.

        Raises:
            ValueError: the data have no such split, or no conversation in it that is long enough.
        """
        check_validation(self.run, evaluate=self.evaluate, out=self.folder / "evaluation")

    def knows(self, step: int) -> bool:
        """Whether that step was judged already, by the same question."""
        return any(row["step"] == step for row in self.rows())

    def forget_after(self, step: int) -> None:
        """Drop what was judged beyond ``step``, from which the run goes on."""
        if self.log.is_file():
            self._write(row for row in self._every() if row["step"] <= step)
        for folder in self.folder.glob("step_*"):
            if int(folder.name.removeprefix("step_")) > step:
                shutil.rmtree(folder)

    def judge(self, *, step: int, artefacts: Mapping[str, Checkpoint]) -> None:
        """Measure what the stage exports after ``step`` steps; only the best so far is kept on disk.

        Raises:
            ValueError: the stage exports no artefact of the configured name.
        """
        name = self.config.artefact
        if name not in artefacts:
            raise ValueError(f"judge.artefact={name} is not among what the stage exports: {sorted(artefacts)}")
        here = self._of(step)
        here.mkdir(parents=True, exist_ok=True)
        for each, checkpoint in artefacts.items():
            checkpoint.save(here / f"{each}.safetensors")
        agent = f"step_{step}"
        rows = validate(
            self.run,
            checkpoints={agent: here / f"{name}.safetensors"},
            references=(),
            evaluate=self.evaluate,
            out=self.folder / "evaluation",
        )
        found = estimate_metric(rows, agent=agent, metric=self.config.metric, seed=self.run.seed).estimate
        row = {"step": step, "value": found.value, "low": found.low, "high": found.high} | self.asked
        again = [each for each in self.rows() if each["step"] == step]
        self._write([*(each for each in self._every() if each not in again), row])
        best = self.best()
        said = "undefined" if found.value is None else f"{found.value:.3g} ({limits(found, '') or 'no interval'})"
        log.info("step %d: %s of %s is %s; best is step %s", step, self.config.metric, name, said, best)
        for folder in self.folder.glob("step_*"):
            if best is not None and folder != self._of(best):
                shutil.rmtree(folder)

    def rows(self) -> list[dict[str, Any]]:
        """Steps judged by this question, oldest first. Rows of older code say only what differed from defaults."""

        def asked(row: Mapping[str, Any]) -> dict[str, Any]:
            said = {name: value for name, value in row["evaluate"].items() if name in DECISIVE}
            return {name: row[name] for name in self.asked} | {"evaluate": self.asked["evaluate"] | said}

        return [row for row in self._every() if asked(row) == self.asked]

    def best(self) -> int | None:
        """The best judged step that is kept; the earlier of equals. ``None`` while no step has a value."""
        sign = 1 if METRICS[self.config.metric].higher_better else -1
        known = [row for row in self.rows() if row["value"] is not None and self._of(row["step"]).is_dir()]
        return max(known, key=lambda row: (sign * row["value"], -row["step"]))["step"] if known else None

    def choose(self, artefacts: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
        """Artefacts of the best step in place of the last ones ``artefacts``, which stay if no step has a value."""
        step = self.best()
        if step is None:
            log.warning("no step has a value of %s: the last is kept", self.config.metric)
            return dict(artefacts)
        log.info("artefacts are those of step %d, the best by %s", step, self.config.metric)
        return {name: load_checkpoint(self._of(step) / f"{name}.safetensors") for name in artefacts}

    def _every(self) -> list[dict[str, Any]]:
        """Steps judged by any question."""
        return list(read_rows(self.log)) if self.log.is_file() else []

    def _write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        write_atomically(self.log, "".join(json.dumps(row) + "\n" for row in rows))

    def _of(self, step: int) -> Path:
        return self.folder / f"step_{step:08d}"
