"""The result table: one row per sample and metric, in parquet. Notebooks and the report only read it.

A metric that could not be computed is a row too: ``unavailable`` (weights or inputs are missing), ``undefined`` (the
sample does not determine it, for instance no cues) or ``given`` (fixed by the script, so it says nothing about the
model). Such rows carry a reason and never a number.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from avatar_lab.evaluation.finding import Finding
from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.metrics import METRICS


class Status(StrEnum):
    OK = "ok"
    UNAVAILABLE = "unavailable"
    UNDEFINED = "undefined"
    GIVEN = "given"


ROW_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("agent", pa.string()),
        ("checkpoint", pa.string()),
        ("step", pa.int64()),
        ("level", pa.int64()),
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("dyad_id", pa.string()),
        ("sample_id", pa.string()),
        ("seed", pa.int64()),
        ("condition", pa.string()),
        ("metric", pa.string()),
        ("representation", pa.string()),
        ("value", pa.float64()),
        ("n", pa.int64()),
        ("unit", pa.string()),
        ("higher_better", pa.bool_()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("code_sha", pa.string()),
        ("config_sha", pa.string()),
        ("device", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The columns that all rows of one agent in one evaluation share."""

    run_id: str
    agent: str
    checkpoint: str | None
    step: int | None
    level: int | None
    dataset: str
    split: str
    seed: int
    condition: str
    code_sha: str
    config_sha: str
    device: str


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One metric of one sample."""

    dyad_id: str
    sample_id: str
    metric: str
    value: float | None
    n: int
    status: Status = Status.OK
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"unknown metric {self.metric!r}; describe it in evaluation/metrics.py first")
        if (self.status is Status.OK) != (self.value is not None):
            raise ValueError(
                f"{self.metric}: status {self.status} with value {self.value}; only 'ok' rows carry a number"
            )
        if self.value is not None and self.value != self.value:
            raise ValueError(f"{self.metric} of {self.sample_id} is NaN; report it as 'undefined' with a reason")


def row_of(found: Finding, *, dyad_id: str = "", sample_id: str = "", given: bool = False) -> Measurement:
    """A finding as a row; of no sample where it is of many together. ``given``: the script fixes it."""
    shared: dict[str, Any] = {"dyad_id": dyad_id, "sample_id": sample_id, "metric": found.metric, "n": found.n}
    if given:
        return Measurement(
            **shared, value=None, status=Status.GIVEN, reason="the script decides when the avatar speaks"
        )
    if isinstance(found.value, Undefined):
        return Measurement(**shared, value=None, status=Status.UNDEFINED, reason=found.value.reason)
    return Measurement(**shared, value=found.value)


def write_rows(path: Path, measurements: list[Measurement], provenance: Provenance) -> None:
    """Write the rows of one agent, replacing the file at once."""
    shared = asdict(provenance)
    rows = []
    for item in measurements:
        metric = METRICS[item.metric]
        rows.append(
            shared
            | asdict(item)
            | {
                "representation": metric.representation,
                "unit": metric.unit,
                "higher_better": metric.higher_better,
                "status": str(item.status),
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    pq.write_table(pa.Table.from_pylist(rows, schema=ROW_SCHEMA), partial)
    partial.replace(path)


def samples_df(folder: Path) -> pd.DataFrame:
    """All rows under ``folder`` (one parquet file per agent) as one frame.

    Raises:
        ValueError: there are no rows, or a file has other columns.
    """
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise ValueError(f"no *.parquet rows in {folder}; run `avatar-lab evaluate` first")
    tables = []
    for path in paths:
        table = pq.read_table(path)
        if table.schema.names != ROW_SCHEMA.names:
            raise ValueError(f"{path} has columns {table.schema.names}, expected {ROW_SCHEMA.names}; evaluate again")
        tables.append(table)
    return pa.concat_tables(tables).to_pandas()
