"""The result tables: one row per sample and metric, and the detected events, in parquet. Notebooks and the report only
read them.

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

from avatar_lab.evaluation.finding import Finding, Missing
from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.event_types import EVENT_SCHEMA


class Status(StrEnum):
    OK = "ok"
    UNAVAILABLE = "unavailable"
    UNDEFINED = "undefined"
    GIVEN = "given"


ROWS_VERSION = 2
"""Raise when other metrics come of the same observations."""
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
        ("rows_version", pa.int64()),
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
        status = Status.UNAVAILABLE if isinstance(found.value, Missing) else Status.UNDEFINED
        return Measurement(**shared, value=None, status=status, reason=found.value.reason)
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
                "rows_version": ROWS_VERSION,
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    pq.write_table(pa.Table.from_pylist(rows, schema=ROW_SCHEMA), partial)
    partial.replace(path)


def rows_are_current(path: Path, config_sha: str) -> bool:
    """Whether the rows at ``path`` come from the same settings, data and checkpoint, and say all that is said now."""
    if not path.is_file() or pq.read_schema(path).names != ROW_SCHEMA.names:
        return False
    first = pq.read_table(path, columns=["config_sha", "rows_version"]).slice(0, 1).to_pylist()
    return first == [{"config_sha": config_sha, "rows_version": ROWS_VERSION}]


def samples_df(folder: Path) -> pd.DataFrame:
    """All rows under ``folder`` (one parquet file per agent) as one frame.

    Raises:
        ValueError: there are no rows, or a file has other columns.
    """
    tables = _read_tables(folder, ROW_SCHEMA, "rows", again="evaluate again")
    return pa.concat_tables(tables.values()).to_pandas()


def events_df(folder: Path) -> pd.DataFrame:
    """All detected events under ``folder`` (one parquet file per agent) as one frame, the agent in a column of its own.

    ``interaction`` is the ``sample_id`` of the rows; times are seconds from its start.

    Raises:
        ValueError: there are no events, or a file has other columns.
    """
    tables = _read_tables(folder, EVENT_SCHEMA, "events", again="remove its rows too and evaluate again")
    named = [
        table.add_column(0, pa.field("agent", pa.string()), pa.repeat(pa.scalar(agent, pa.string()), len(table)))
        for agent, table in tables.items()
    ]
    return pa.concat_tables(named).to_pandas()


def _read_tables(folder: Path, schema: pa.Schema, what: str, *, again: str) -> dict[str, pa.Table]:
    """The tables under ``folder`` by agent."""
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise ValueError(f"no *.parquet {what} in {folder}; run `avatar-lab evaluate` first")
    tables = {}
    for path in paths:
        table = pq.read_table(path)
        if table.schema.names != schema.names:
            raise ValueError(f"{path} has columns {table.schema.names}, expected {schema.names}; {again}")
        tables[path.stem] = table
    return tables
