"""A gate opens for what reaches its bars, stays shut otherwise, and shows the numbers either way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from avatar_lab import validation
from avatar_lab.config import RunConfig, load
from avatar_lab.evaluate_config import EvaluateConfig
from avatar_lab.evaluation.agents import AGENTS
from avatar_lab.evaluation.bars import Cells
from avatar_lab.evaluation.estimates import AgentMetric
from avatar_lab.evaluation.gates import Gate
from avatar_lab.evaluation.runner import run_agents
from avatar_lab.evaluation.statistics import Estimate
from avatar_lab.gate import GateConfig, passes
from tests.evaluation.planted import PROBABILITY, PlantedStudio
from tests.evaluation.test_report import provenance

NOD = "nod_response"


def _cells(**values: tuple[float, float, float] | None) -> Cells:
    cells: Cells = {}
    for agent, numbers in values.items():
        value, low, high = numbers or (None, None, None)
        estimate = Estimate(value=value, low=low, high=high, dyads=8)
        cells[agent, NOD] = AgentMetric(agent=agent, metric=NOD, estimate=estimate, n=40)
    return cells


@pytest.mark.parametrize(
    ("bar", "own", "passed"),
    [
        ({"at_least": 0.5}, (0.5, 0.4, 0.6), True),
        ({"at_least": 0.5}, (0.49, 0.4, 0.6), False),
        ({"at_least": 0.5, "of": "oracle"}, (0.41, 0.3, 0.5), True),
        ({"at_least": 0.5, "of": "oracle"}, (0.39, 0.3, 0.5), False),
        ({"at_most": 0.15}, (0.1, 0.0, 0.15), True),
        ({"at_most": 0.15}, (0.1, 0.0, 0.16), False),
        ({"above": "yoked"}, (0.3, 0.06, 0.5), True),
        ({"above": "yoked"}, (0.3, 0.05, 0.5), False),
        ({"at_least": 0.1, "above": "yoked"}, (0.3, 0.05, 0.5), False),
        ({"at_least": 0.1}, None, None),
    ],
)
def test_a_bar_is_what_it_says(bar: dict[str, Any], own: tuple[float, float, float] | None, passed: bool) -> None:
    cells = _cells(level2=own, oracle=(0.8, 0.7, 0.9), yoked=(0.05, 0.0, 0.1))
    verdict = Gate(metric=NOD, **bar).judge(cells, "level2")
    assert verdict.passed is passed
    if passed is None:
        assert verdict.observed == "no value of level2"
    else:
        assert f"{own[0]:.3g}" in verdict.observed if own else False


def test_a_reference_without_a_value_lets_nothing_pass() -> None:
    verdict = Gate(metric=NOD, at_least=0.5, of="oracle").judge(_cells(level2=(0.9, 0.8, 1.0), oracle=None), "level2")
    assert verdict.passed is None
    assert verdict.observed == "no value of oracle"


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"artefact": "level2", "bars": []}, "needs artefact"),
        ({"bars": [{"metric": NOD, "at_least": 1}]}, "needs artefact"),
        ({"artefact": "level2", "bars": [{"metric": "nods", "at_least": 1}]}, "unknown metric 'nods'"),
        ({"artefact": "level2", "bars": [{"metric": NOD}]}, "asks nothing"),
        ({"artefact": "level2", "bars": [{"metric": NOD, "above": "yoked", "of": "oracle"}]}, "no share of it"),
        (
            {"artefact": "level2", "bars": [{"metric": NOD, "at_last": 1}]},
            r"no key 'at_last' \(did you mean 'at_least'",
        ),
        ({"artifact": "level2"}, r"no key 'artifact' \(did you mean 'artefact'"),
    ],
)
def test_a_gate_that_cannot_be_is_refused(plain: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GateConfig.from_plain(plain)


def _run(folder: Path, **bar: Any) -> RunConfig:
    overrides = ["experiment=quickstart/self_forcing", f"root={folder}"]
    plain = {"artefact": "level2", "evaluate": {"num_dyads": 6}, "bars": [{"metric": NOD, **bar}]}
    return replace(load(overrides), out=str(folder), gate=plain)


def test_a_stage_is_judged_beside_its_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[EvaluateConfig] = []

    def measure(config: EvaluateConfig) -> None:
        """As in an evaluation, but by planted agents."""
        asked.append(config)
        studio = PlantedStudio(num_dyads=config.num_dyads, films=tmp_path)
        studio.agents = AGENTS | {name: replace(AGENTS["level2"], name=name) for name in config.compare}
        assert not AGENTS.keys() & config.compare.keys(), "an evaluation refuses names that are taken"
        run_agents(
            studio,
            [*config.agents, *config.compare],
            out=Path(config.out),
            provenance=provenance,
            batch_size=4,
            offline_dyads=None,
            workers=1,
            progress=lambda agent, done, total: None,
        )

    monkeypatch.setattr(validation, "measure_agents", measure)
    monkeypatch.setitem(PROBABILITY, "trained_level2", PROBABILITY["level2"])
    with pytest.raises(ValueError, match=r"gate\.artefact=level2 is not among"):
        passes(_run(tmp_path, at_least=0.5))
    (tmp_path / "level2.safetensors").write_bytes(b"")
    assert passes(_run(tmp_path, at_least=0.5, of="delayed_oracle", above="yoked"))
    assert (asked[-1].split, asked[-1].num_dyads, asked[-1].latency_seconds) == ("val", 6, 0)
    assert asked[-1].agents == ["delayed_oracle", "yoked"]
    assert asked[-1].shards == f"{tmp_path}/shards"
    assert not passes(_run(tmp_path, at_least=1.2, of="delayed_oracle"))
    (verdict,) = json.loads((tmp_path / "gate.json").read_text())
    assert verdict["passed"] is False
    assert "delayed_oracle" in verdict["observed"]
    assert passes(replace(_run(tmp_path, at_least=2.0), gate=None))
