"""A run with a judge and a gate, from config to exit code: rolled out, measured and compared by the real evaluation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from avatar_lab.config import RunConfig, load
from avatar_lab.gate import GATE_EXIT_CODE
from avatar_lab.train import run
from avatar_lab.training.metrics_log import read_rows
from tests.data.small_dataset import write_shipped_codecs_dataset

EVALUATE = {"split": "train", "num_dyads": 1, "seconds": 8, "workers": 1}


def judged(root: Path, *, moves_at_least: float) -> RunConfig:
    small = ["model.width=32", "model.num_heads=2", "model.num_layers=1"]
    config = load(["experiment=smoke/teacher", f"root={root}", "cluster.machine.accelerator=cpu", *small])
    return replace(
        config,
        samples=None,
        judge={"artefact": "teacher", "metric": "lip_sync_correlation", "every_steps": 2, "evaluate": EVALUATE},
        gate={
            "artefact": "teacher",
            "evaluate": EVALUATE,
            "bars": [{"metric": "head_variance_ratio", "at_least": moves_at_least}],
        },
    )


@pytest.mark.ci
def test_steps_are_judged_and_the_gate_decides_how_the_run_ends(tmp_path: Path) -> None:
    write_shipped_codecs_dataset(tmp_path / "shards", lengths={"d0": 30.0, "d1": 24.0})
    shut = judged(tmp_path, moves_at_least=1e9)
    assert run(shut) == GATE_EXIT_CODE
    out = Path(shut.out)
    rows = read_rows(out / "judged.jsonl")
    assert [row["step"] for row in rows] == [2, 4]
    assert all(row["value"] is not None for row in rows)
    best = max(rows, key=lambda row: (row["value"], -row["step"]))["step"]
    assert json.loads((out / "done.json").read_text())["best_step"] == best
    (verdict,) = json.loads((out / "gate.json").read_text())
    assert verdict["passed"] is False
    assert run(judged(tmp_path, moves_at_least=0.0)) == 0, "the same artefacts, and a bar that they reach"
