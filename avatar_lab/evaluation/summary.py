"""``summary.json``: every number of the report for programs to read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avatar_lab.evaluation.estimates import AgentMetric


def summarise(
    cells: Sequence[AgentMetric],
    *,
    latency: Mapping[str, Any] | None,
    seconds: Mapping[str, float],
    hardware: Mapping[str, Any],
    commit: str | None,
) -> dict[str, Any]:
    """The summary as plain values; undefined numbers are null."""
    return {
        "metrics": [
            {
                "agent": cell.agent,
                "metric": cell.metric,
                "value": cell.estimate.value,
                "ci_low": cell.estimate.low,
                "ci_high": cell.estimate.high,
                "n": cell.n,
                "unit": cell.unit,
            }
            for cell in cells
        ],
        "latency": dict(latency) if latency is not None else None,
        "seconds": dict(seconds),
        "hardware": dict(hardware),
        "commit": commit,
    }


def write_json(path: Path, value: Any) -> None:
    """Strict JSON (no NaN), either absent or whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
    partial.replace(path)
