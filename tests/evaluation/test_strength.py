"""The bars of distillation: what passes, what fails, and that a number that is missing is neither."""

from __future__ import annotations

import pytest

from avatar_lab.evaluation.bars import Cells, Verdict
from avatar_lab.evaluation.estimates import AgentMetric
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.statistics import Estimate
from avatar_lab.evaluation.strength import RATES, RESPONSES, judge_strength

LATENCIES = {"level3": {"block_p50_ms": 70.0}, "many_steps": {"block_p50_ms": 500.0}}
GOOD: dict[str, dict[str, float]] = {
    **{metric: {"level3": 0.6, "many_steps": 0.62, "delayed_oracle": 0.7} for metric in RESPONSES},
    **{metric: {"level3": 5.0, "many_steps": 5.2, "oracle": 9.0} for metric in RATES},
    "head_variance_ratio": {"level3": 0.8, "equal_steps": 0.6},
    "face_fd": {"level3": 1.4, "many_steps": 1.3},
    "face_fd_floor": {"level3": 1.0},
    "own_sound_fd": {"level3": 2.1, "many_steps": 2.2},
    "own_sound_fd_floor": {"level3": 2.0},
    "own_token_nll": {"level3": 2.0, "many_steps": 1.9},
    "own_token_nll_truth": {"level3": 2.1},
}


def cells(values: dict[str, dict[str, float]], *, dyads: int = 200) -> Cells:
    return {
        (agent, metric): AgentMetric(
            agent=agent,
            metric=metric,
            estimate=Estimate(value=value, low=value - 0.5, high=value + 0.5, dyads=dyads),
            n=dyads,
        )
        for metric, by_agent in values.items()
        for agent, value in by_agent.items()
    }


def verdicts(change: dict[str, dict[str, float]], **kwargs: int) -> dict[tuple[str, str], Verdict]:
    found = judge_strength(cells(GOOD | change, **kwargs), LATENCIES)
    return {(verdict.metric, verdict.rule): verdict for verdict in found}


def test_a_good_student_meets_every_bar() -> None:
    found = verdicts({})
    assert all(verdict.passed is True for verdict in found.values()), found
    assert found["nod_response", ">= 0.95 x many_steps"].observed == "0.6 (0.1 ... 1.1) against 0.62 (0.12 ... 1.12)"
    assert {metric for metric, _ in found} <= METRICS.keys() | {"block_p50_ms", "dyads"}


@pytest.mark.parametrize(
    ("metric", "values", "missed"),
    [
        ("nod_response", {"level3": 0.58, "many_steps": 0.62, "delayed_oracle": 0.7}, 1),  # .94 of many steps
        ("smile_response", {"level3": 0.55, "many_steps": 0.5, "delayed_oracle": 0.7}, 1),  # .79 of the bound
        ("head_variance_ratio", {"level3": 0.74, "equal_steps": 0.7}, 2),
        ("head_variance_ratio", {"level3": 0.8, "equal_steps": 0.75}, 1),
        ("face_fd", {"level3": 1.5, "many_steps": 1.3}, 1),  # .5 above the floor for .3
        ("own_sound_fd", {"level3": 2.3, "many_steps": 2.2}, 1),
        ("nod_rate", {"level3": 4.0, "many_steps": 5.0, "oracle": 9.0}, 1),  # outside, and further from people
        ("nod_rate", {"level3": 6.0, "many_steps": 5.0, "oracle": 9.0}, 0),  # outside, but nearer
        ("own_token_nll", {"level3": 1.0, "many_steps": 1.9}, 1),
    ],
)
def test_what_misses_a_bar(metric: str, values: dict[str, float], missed: int) -> None:
    found = verdicts({metric: values})
    assert [verdict.metric for verdict in found.values() if verdict.passed is False] == [metric] * missed


def test_a_number_that_is_missing_is_no_verdict() -> None:
    found = verdicts({"head_variance_ratio": {"level3": 0.8}, "own_token_nll": {}, "face_fd_floor": {}})
    unknown = [(verdict.metric, verdict.passed) for verdict in found.values() if verdict.passed is not True]
    assert sorted(unknown) == [("face_fd", None), ("head_variance_ratio", None), ("own_token_nll", None)]


def test_few_dyads_are_said() -> None:
    assert verdicts({}, dyads=32)["dyads", ">= 200"].passed is False


@pytest.mark.parametrize("there", ["level3", "many_steps"])
def test_an_evaluation_without_either_has_none(there: str) -> None:
    alone = {metric: {there: 0.6} for metric in RESPONSES}
    assert judge_strength(cells(alone), LATENCIES) == []
