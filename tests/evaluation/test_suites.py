"""Every suite composes into an evaluation whose agents and interventions exist, in folders of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar_lab.config import compose_more, known_keys
from avatar_lab.evaluate_config import EvaluateConfig
from avatar_lab.evaluation.agents import AGENTS, ModelAgent
from avatar_lab.evaluation.intervene import INTERVENTIONS
from avatar_lab.evaluation.runner import TRUTH
from avatar_lab.evaluation.strength import EQUAL_STEPS, MANY_STEPS, MIN_DYADS, STUDENT

SUITES = sorted(path.stem for path in (Path(__file__).parents[2] / "configs" / "suite").glob("*.yaml"))


def composed(*overrides: str) -> EvaluateConfig:
    return EvaluateConfig.of(known_keys(compose_more("evaluate", list(overrides)), EvaluateConfig, "an evaluation"))


def test_there_are_suites() -> None:
    assert SUITES == ["full", "listening", "long", "quick", "strength"]


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_is_an_evaluation_in_its_own_folder(suite: str) -> None:
    config, usual = composed(f"suite={suite}", "root=runs"), composed("root=runs")
    assert config.out == f"runs/evaluation_{suite}"
    assert config.report == f"runs/report_{suite}"
    assert config.out != usual.out
    assert TRUTH in config.agents
    assert {"yoked", "frozen", "delayed_oracle"} <= set(config.agents)
    text = (Path(__file__).parents[2] / "configs" / "suite" / f"{suite}.yaml").read_text()
    assert f"suite={suite}" in text, "its header gives the command"


def test_the_full_suite_asks_everything_of_everybody() -> None:
    config = composed("suite=full")
    assert set(config.agents) == set(AGENTS)
    assert set(config.interventions) == set(INTERVENTIONS)


def test_listening_is_without_a_script() -> None:
    models = [agent for name in composed("suite=listening").agents if isinstance(agent := AGENTS[name], ModelAgent)]
    assert models
    assert not any(agent.scripted for agent in models)


def composed_student_steps() -> list[float]:
    stage = compose_more("train", ["experiment=quickstart/initialise", "root=runs"]).stage
    return list(stage.steps)


def test_strength_compares_with_the_teacher_of_the_student() -> None:
    config = composed("suite=strength", "root=runs")
    assert config.num_dyads >= MIN_DYADS
    teacher, steps = "runs/see_teacher/see_teacher.safetensors", composed_student_steps()
    assert config.compare == {
        MANY_STEPS: {"checkpoint": teacher, "num_steps": 32},
        EQUAL_STEPS: {"checkpoint": teacher, "num_steps": len(steps)},
    }
    assert {STUDENT, "oracle", "delayed_oracle"} <= set(config.agents)
    assert set(config.latency_agents) == {STUDENT, MANY_STEPS}
