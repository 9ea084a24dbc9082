"""Checkpoints of a training run, rolled out on the validation split and measured beside reference agents."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from avatar_lab.config import RunConfig, check_keys, compose_more, known_keys
from avatar_lab.evaluate import build_studio, measure_agents
from avatar_lab.evaluate_config import EvaluateConfig
from avatar_lab.evaluation.rows import samples_df

_DEFAULTS = {"split": "val", "films": 0, "latency_seconds": 0, "device": "cpu"}
_OWN = ("out", "agents", "compare", "layout", "codec", "seed")
"""Keys that a run sets itself, whatever is asked."""


def settings(config: RunConfig, evaluate: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of an evaluation that a run does not set itself: ``evaluate``, and for the rest those of
    ``configs/evaluate.yaml``, which is not read where there is no rest, as in a submitted run.

    Raises:
        ValueError: a key is unknown, or the run has no prepared data set.
    """
    check_keys(evaluate, EvaluateConfig, "evaluate")
    if "root" not in config.data:
        raise ValueError("a run can be validated only on a prepared data set: data=shards data.root=FOLDER")
    names = [column.name for column in fields(EvaluateConfig) if column.name not in _OWN]
    plain = dict(evaluate)
    if not plain.keys() >= set(names):
        node = compose_more("evaluate", [f"root={config.root}", f"shards={config.data['root']}"])
        plain = known_keys(node, EvaluateConfig, "an evaluation") | _DEFAULTS | plain
    return {name: plain[name] for name in names}


def validate(
    config: RunConfig,
    *,
    checkpoints: Mapping[str, Path],
    references: Collection[str],
    evaluate: Mapping[str, Any],
    out: Path,
) -> pd.DataFrame:
    """Rows of ``checkpoints``, by name, and of ``references``; what ``out`` holds already is not measured again.

    evaluate  keys of ``configs/evaluate.yaml``

    Raises:
        ValueError: a key is unknown, or the data are not there.
    """
    own = {"out": str(out), "agents": sorted(references), "compare": {n: str(p) for n, p in checkpoints.items()}}
    measure_agents(_evaluation(config, evaluate, own))
    return samples_df(out / "rows")


def check_validation(config: RunConfig, *, evaluate: Mapping[str, Any], out: Path) -> None:
    """Refuse what could not be validated, before anything is trained.

    Raises:
        ValueError: a key is unknown, or the data have no such split, or no conversation in it that is long enough.
    """
    build_studio(_evaluation(config, evaluate, {"out": str(out), "agents": [], "compare": {}}))


def _evaluation(config: RunConfig, evaluate: Mapping[str, Any], own: Mapping[str, Any]) -> EvaluateConfig:
    run = {"layout": config.layout, "codec": config.codec, "seed": config.seed}
    return EvaluateConfig.of(settings(config, evaluate) | dict(own) | run)
