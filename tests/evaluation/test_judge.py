"""Keeping the best step by a metric: what is kept, what is exported, and what a second start knows of the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from omegaconf import DictConfig

from avatar_lab import judge as judge_module
from avatar_lab import validation
from avatar_lab.checkpoint import Checkpoint, load_checkpoint, weights_sha256
from avatar_lab.config import RunConfig, compose_more, load
from avatar_lab.evaluation.estimates import AgentMetric
from avatar_lab.evaluation.statistics import Estimate
from avatar_lab.judge import Judge
from avatar_lab.level import Level
from avatar_lab.stage.start import Setting, fresh
from tests.training.stages import NUM_BLOCKS, SIZE, fake_codecs


def _run(folder: Path, **judge: Any) -> RunConfig:
    plain = {"artefact": "level2", "metric": "nod_response", "every_steps": 20, **judge}
    return replace(load(["experiment=quickstart/self_forcing", f"root={folder}"]), out=str(folder), judge=plain)


def _checkpoint(seed: int) -> Checkpoint:
    torch.manual_seed(seed)
    return fresh(size=SIZE, level=Level.LISTEN, window_blocks=NUM_BLOCKS, setting=Setting(**fake_codecs()))


def _judged(monkeypatch: pytest.MonkeyPatch, judge: Judge, values: dict[int, float | None]) -> None:
    """Judge a checkpoint of its own per step, as if an evaluation gave ``values``."""

    def measured(rows: pd.DataFrame, *, agent: str, metric: str, seed: int) -> AgentMetric:
        value = values[int(agent.removeprefix("step_"))]
        return AgentMetric(
            agent=agent, metric=metric, estimate=Estimate(value=value, low=value, high=value, dyads=4), n=9
        )

    def rolled_out(config: RunConfig, **asked: Any) -> pd.DataFrame:
        (checkpoint,) = asked["checkpoints"].values()
        assert load_checkpoint(checkpoint).level is Level.LISTEN
        assert asked["out"] == Path(config.out) / "judged" / "evaluation"
        return pd.DataFrame()

    monkeypatch.setattr(judge_module, "estimate_metric", measured)
    monkeypatch.setattr(judge_module, "validate", rolled_out)
    for step in values:
        judge.judge(step=step, artefacts={"level2": _checkpoint(step), "level1": _checkpoint(step + 1)})


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ({20: 0.3, 40: 0.5, 60: 0.4}, 40),
        ({20: 0.5, 40: 0.5}, 20),
        ({20: None, 40: -0.1}, 40),
        ({20: None}, None),
    ],
)
def test_the_best_step_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[int, float | None], best: int | None
) -> None:
    judge = Judge(_run(tmp_path))
    _judged(monkeypatch, judge, values)
    assert judge.best() == best
    assert [row["step"] for row in judge.rows()] == list(values)
    last = {"level2": _checkpoint(99), "level1": _checkpoint(100)}
    chosen = judge.choose(last)
    for number, name in enumerate(("level2", "level1")):
        expected = _checkpoint(best + number) if best else last[name]
        assert weights_sha256(chosen[name].model) == weights_sha256(expected.model)
    if best:
        assert [folder.name for folder in (tmp_path / "judged").glob("step_*")] == [f"step_{best:08d}"]


def test_a_metric_that_should_be_low_is_kept_low(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = next(name for name, each in judge_module.METRICS.items() if each.higher_better is False)
    judge = Judge(_run(tmp_path, metric=metric))
    _judged(monkeypatch, judge, {20: 0.5, 40: 0.2, 60: 0.3})
    assert judge.best() == 40


def test_a_second_start_goes_on_judging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _judged(monkeypatch, Judge(_run(tmp_path)), {20: 0.6, 40: 0.3})
    again = Judge(_run(tmp_path))
    assert [again.knows(step) for step in (20, 40, 60)] == [True, True, False]
    _judged(monkeypatch, again, {40: 0.4, 60: 0.5})
    assert [(row["step"], row["value"]) for row in again.rows()] == [(20, 0.6), (40, 0.4), (60, 0.5)]
    assert again.best() == 20
    assert weights_sha256(again.choose({"level2": _checkpoint(99)})["level2"].model) == weights_sha256(
        _checkpoint(20).model
    )


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"metric": "nods"}, "unknown metric 'nods'"),
        ({"every_step": 3}, r"no key 'every_step' \(did you mean 'every_steps'"),
        ({"every_steps": 0}, "at least 1"),
        ({"metric": "lip_sync_lag_ms"}, "neither high nor low"),
    ],
)
def test_a_judge_that_cannot_be_is_refused(tmp_path: Path, plain: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Judge(_run(tmp_path, **plain))


def test_a_judge_needs_its_keys_and_its_artefact(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs every_steps, metric"):
        Judge(replace(_run(tmp_path), judge={"artefact": "level2"}))
    with pytest.raises(ValueError, match=r"judge\.artefact=level4 is not among"):
        Judge(_run(tmp_path, artefact="level4")).judge(step=20, artefacts={"level2": _checkpoint(0)})


def test_a_run_that_goes_on_from_an_earlier_step_forgets_the_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Judge(_run(tmp_path))
    _judged(monkeypatch, judge, {20: 0.3, 40: 0.9})
    judge.forget_after(30)
    assert [row["step"] for row in judge.rows()] == [20]
    assert not list((tmp_path / "judged").glob("step_*"))
    assert judge.best() is None, "its weights were not kept beside better ones"
    _judged(monkeypatch, judge, {40: 0.2})
    assert judge.best() == 40


def test_values_of_another_question_do_not_compete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _judged(monkeypatch, Judge(_run(tmp_path)), {20: 0.9})
    for other in ({"metric": "smile_response"}, {"evaluate": {"num_dyads": 3}}, {"artefact": "level1"}):
        judge = Judge(_run(tmp_path, **other))
        assert not judge.knows(20)
        assert judge.best() is None
    _judged(monkeypatch, Judge(_run(tmp_path, metric="smile_response")), {20: 0.1})
    assert Judge(_run(tmp_path)).knows(20), "what was judged by the first question is kept"


@pytest.mark.parametrize(("edit", "other"), [("seconds=12", True), ("workers=9", False), ("recordings=null", False)])
def test_values_by_other_defaults_of_an_evaluation_do_not_compete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edit: str, other: bool
) -> None:
    """As when ``configs/evaluate.yaml`` is edited between two starts."""
    _judged(monkeypatch, Judge(_run(tmp_path)), {20: 0.9})

    def edited(name: str, overrides: list[str]) -> DictConfig:
        return compose_more(name, [*overrides, edit])

    monkeypatch.setattr(validation, "compose_more", edited)
    assert Judge(_run(tmp_path)).knows(20) is not other
    assert Judge(_run(tmp_path)).best() == (None if other else 20)


def test_what_could_not_be_judged_is_said_before_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no key 'num_dyad' \(did you mean 'num_dyads'"):
        Judge(_run(tmp_path, evaluate={"num_dyad": 3})).check()
    with pytest.raises(ValueError, match="shards"):
        Judge(_run(tmp_path)).check()
    run = _run(tmp_path)
    with pytest.raises(ValueError, match="prepared data set"):
        Judge(replace(run, data={"_target_": "somewhere"})).check()
