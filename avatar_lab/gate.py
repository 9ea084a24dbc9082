"""The gate of a stage: its checkpoint rolled out on the validation split, and judged, before the next stage starts.

    gate:
      artefact: level2
      evaluate: {num_dyads: 8, seconds: 54}
      bars:
        - {metric: nod_response, at_least: 0.5, of: delayed_oracle, above: yoked}

What was measured lies in ``<out>/gate`` and is not measured again; the verdicts are in ``<out>/gate.json``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from avatar_lab.config import RunConfig, compose_more, known_keys
from avatar_lab.construct import nearest
from avatar_lab.evaluate import measure_agents
from avatar_lab.evaluate_config import EvaluateConfig
from avatar_lab.evaluation.estimates import estimate_metric
from avatar_lab.evaluation.gates import Gate
from avatar_lab.evaluation.rows import samples_df
from avatar_lab.evaluation.summary import write_json

log = logging.getLogger(__name__)

GATE_EXIT_CODE = 4
"""Of ``avatar-lab train`` when its checkpoint does not pass: a graph of stages stops there."""
_DEFAULTS = {"split": "val", "films": 0, "latency_seconds": 0}


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
        _check_keys(plain, cls, "a gate")
        if not plain.get("bars") or "artefact" not in plain:
            raise ValueError("a gate needs artefact, the checkpoint that it judges, and bars, what it must reach")
        for bar in plain["bars"]:
            _check_keys(bar, Gate, "a bar")
        return cls(**plain | {"bars": [Gate(**bar) for bar in plain["bars"]]})


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
    node = compose_more("evaluate", [f"root={config.root}", f"shards={config.data['root']}"])
    plain = known_keys(node, EvaluateConfig, "an evaluation") | _DEFAULTS | gate.evaluate
    evaluation = EvaluateConfig.of(
        plain
        | {"out": str(out / "gate"), "agents": references, "compare": {gate.artefact: str(checkpoint)}}
        | {"layout": config.layout, "codec": config.codec, "seed": config.seed}
    )
    measure_agents(evaluation)
    samples = samples_df(out / "gate" / "rows")
    cells = {
        (agent, bar.metric): estimate_metric(samples, agent=agent, metric=bar.metric, seed=config.seed)
        for bar in gate.bars
        for agent in (gate.artefact, *references)
    }
    verdicts = [bar.judge(cells, gate.artefact) for bar in gate.bars]
    write_json(out / "gate.json", [vars(verdict) for verdict in verdicts])
    for verdict in verdicts:
        mark = {True: "passed", False: "failed", None: "failed"}[verdict.passed]
        log.info("gate %s: %s %s is %s (%s)", mark, verdict.agent, verdict.metric, verdict.observed, verdict.rule)
    return all(verdict.passed for verdict in verdicts)


def _check_keys(plain: dict[str, Any], schema: type, title: str) -> None:
    names = [column.name for column in fields(schema)]
    for key in plain:
        if key not in names:
            raise ValueError(f"{title} has no key {key!r}{nearest(str(key), names)}; it has {names}")
