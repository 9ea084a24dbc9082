"""The gate of a stage: its checkpoint rolled out on the validation split, and judged, before the next stage starts.

    gate:
      artefact: level2
      evaluate: {num_dyads: 8, seconds: 54}
      bars:
        - {metric: nod_response, at_least: 0.5, of: delayed_oracle, above: yoked}

It is rolled out on the CPU unless ``evaluate: {device: cuda}`` says otherwise. What was measured lies in ``<out>/gate``
and is not measured again; the verdicts are in ``<out>/gate.json``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avatar_lab.config import RunConfig, check_keys
from avatar_lab.evaluation.estimates import estimate_metric
from avatar_lab.evaluation.gates import Gate
from avatar_lab.evaluation.summary import write_json
from avatar_lab.validation import check_validation, validate

log = logging.getLogger(__name__)

GATE_EXIT_CODE = 4
"""Of ``avatar-lab train`` when its checkpoint does not pass: a graph of stages stops there."""


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """Key ``gate`` of a run."""

    artefact: str
    """Which of the run's checkpoints, without ending."""
    bars: list[Gate]
    evaluate: dict[str, Any] = field(default_factory=dict)
    """Keys of ``configs/evaluate.yaml``."""

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> GateConfig:
        """Checked.

        Raises:
            ValueError: a key is unknown or missing, or a bar asks for what cannot be.
        """
        check_keys(plain, cls, "a gate")
        if not plain.get("bars") or "artefact" not in plain:
            raise ValueError("a gate needs artefact, the checkpoint that it judges, and bars, what it must reach")
        for bar in plain["bars"]:
            check_keys(bar, Gate, "a bar")
        return cls(**plain | {"bars": [Gate(**bar) for bar in plain["bars"]]})


def check_gate(config: RunConfig) -> None:
    """Refuse a gate that cannot be, before anything is trained.

    Raises:
        ValueError: as :meth:`GateConfig.from_plain` and :func:`check_validation`.
    """
    if config.gate is not None:
        gate = GateConfig.from_plain(config.gate)
        check_validation(config, evaluate=gate.evaluate, out=Path(config.out) / "gate")


def passes(config: RunConfig) -> bool:
    """Measure the run's checkpoint and say how it stands; ``True`` too where the run has no gate.

    Raises:
        ValueError: the gate or the evaluation asks for what is not there.
    """
    if config.gate is None:
        return True
    gate, out = GateConfig.from_plain(config.gate), Path(config.out)
    references = sorted(set().union(*(bar.references for bar in gate.bars)))
    checkpoint = out / f"{gate.artefact}.safetensors"
    if not checkpoint.is_file():
        there = sorted(path.stem for path in out.glob("*.safetensors"))
        raise ValueError(f"gate.artefact={gate.artefact} is not among the artefacts of this run: {there}")
    agent = f"trained_{gate.artefact}"  # level2 is the name of one that every evaluation knows
    samples = validate(
        config,
        checkpoints={agent: checkpoint},
        references=references,
        evaluate=gate.evaluate,
        out=out / "gate",
    )
    cells = {
        (name, bar.metric): estimate_metric(samples, agent=name, metric=bar.metric, seed=config.seed)
        for bar in gate.bars
        for name in (agent, *references)
    }
    verdicts = [bar.judge(cells, agent) for bar in gate.bars]
    write_json(out / "gate.json", [vars(verdict) for verdict in verdicts])
    for verdict in verdicts:
        mark = {True: "passed", False: "failed", None: "failed"}[verdict.passed]
        log.info("gate %s: %s %s is %s (%s)", mark, verdict.agent, verdict.metric, verdict.observed, verdict.rule)
    return all(verdict.passed for verdict in verdicts)
