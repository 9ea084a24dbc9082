"""Checkpoints of a training run, rolled out on the validation split and measured beside reference agents."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from avatar_lab.config import RunConfig, compose_more, known_keys
from avatar_lab.evaluate import measure_agents
from avatar_lab.evaluate_config import EvaluateConfig
from avatar_lab.evaluation.rows import samples_df

_DEFAULTS = {"split": "val", "films": 0, "latency_seconds": 0}


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
    node = compose_more("evaluate", [f"root={config.root}", f"shards={config.data['root']}"])
    plain = known_keys(node, EvaluateConfig, "an evaluation") | _DEFAULTS | dict(evaluate)
    own = {"out": str(out), "agents": sorted(references), "compare": {n: str(p) for n, p in checkpoints.items()}}
    run = {"layout": config.layout, "codec": config.codec, "seed": config.seed}
    measure_agents(EvaluateConfig.of(plain | own | run))
    return samples_df(out / "rows")
