"""How long the instrument itself may take: resampling and reading are never what one waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.rows import ROW_SCHEMA, ROWS_VERSION, Status, samples_df
from avatar_lab.evaluation.statistics import cluster_bootstrap, difference_of_rates

ROWS, FILES = 1_000_000, 4


def processor_seconds(act: Callable[[], object]) -> float:
    """Of all threads: at least what one waits for on a machine with nothing else to do, whatever else this one does."""
    start = time.process_time()
    act()
    return time.process_time() - start


@pytest.mark.ci
def test_ten_thousand_resamples_of_five_hundred_dyads_in_ten_seconds() -> None:
    rng = np.random.default_rng(0)
    trials_D, controls_D = (rng.integers(4, 20, 500).astype(float) for _ in range(2))
    hits_D, control_hits_D = rng.binomial(trials_D.astype(int), 0.5), rng.binomial(controls_D.astype(int), 0.2)
    statistic = difference_of_rates(hits_D.astype(float), trials_D, control_hits_D.astype(float), controls_D)
    assert processor_seconds(lambda: cluster_bootstrap(statistic, 500, seed=0, resamples=10_000)) <= 10


@pytest.mark.ci
def test_a_million_rows_load_in_two_seconds(tmp_path: Path) -> None:
    rng, names = np.random.default_rng(0), list(METRICS)
    for agent in range(FILES):
        num = ROWS // FILES
        which_N = rng.integers(0, len(names), num)
        text = {
            "run_id": np.full(num, "run"),
            "agent": np.full(num, f"agent{agent}"),
            "checkpoint": np.full(num, "level3.safetensors"),
            "dataset": np.full(num, "world"),
            "split": np.full(num, "test"),
            "dyad_id": np.char.add("dyad", rng.integers(0, 500, num).astype(str)),
            "sample_id": np.char.add("sample", np.arange(num).astype(str)),
            "condition": np.full(num, "free"),
            "metric": np.array(names)[which_N],
            "representation": np.array([METRICS[name].representation for name in names])[which_N],
            "unit": np.array([METRICS[name].unit for name in names])[which_N],
            "status": np.full(num, str(Status.OK)),
            "reason": np.full(num, None),
            "code_sha": np.full(num, "0" * 40),
            "config_sha": np.full(num, "1" * 16),
            "device": np.full(num, "cpu"),
        }
        numbers = {"step": 1000, "level": 3, "seed": 0, "n": 10, "rows_version": ROWS_VERSION}
        columns = {
            **{name: pa.array(column, pa.string()) for name, column in text.items()},
            **{name: pa.array(np.full(num, value), pa.int64()) for name, value in numbers.items()},
            "value": pa.array(rng.normal(size=num)),
            "higher_better": pa.array(np.ones(num, dtype=bool)),
        }
        table = pa.table({field.name: columns[field.name] for field in ROW_SCHEMA}, schema=ROW_SCHEMA)
        pq.write_table(table, tmp_path / f"agent{agent}.parquet")
    assert len(samples_df(tmp_path)) == ROWS
    assert processor_seconds(lambda: samples_df(tmp_path)) <= 2
