"""A run with a judge and a gate, from config to exit code: rolled out, measured and compared by the real evaluation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from avatar_lab.checkpoint import load_checkpoint, weights_sha256
from avatar_lab.config import RunConfig, load
from avatar_lab.gate import GATE_EXIT_CODE
from avatar_lab.train import run
from avatar_lab.training.metrics_log import read_rows
from tests.data.small_dataset import write_shipped_codecs_dataset
from tests.training.ranks import free_port, launched_as, start

EVALUATE = {"split": "train", "num_dyads": 1, "seconds": 8, "workers": 1}


SHARDED = [
    *("cluster.machine.devices=2", "cluster.machine.strategy=sharded", "training.checkpoint_activations=true"),
    *("optimizer@training.optimizers.teacher=adamw", "~training.optimizers.teacher.spared", "samples.split=train"),
]


def judged(root: Path, *more: str, moves_at_least: float) -> RunConfig:
    small = ["model.width=32", "model.num_heads=2", "model.num_layers=1"]
    config = load(["experiment=smoke/teacher", f"root={root}", "cluster.machine.accelerator=cpu", *small, *more])
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


@pytest.mark.parametrize("asked", [{"split": "val"}, {"device": "cuda:99"}, {"num_dyad": 1}])
def test_a_gate_that_could_not_judge_is_refused_before_anything_is_trained(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    write_shipped_codecs_dataset(tmp_path / "shards", lengths={"d0": 30.0})
    config = judged(tmp_path, moves_at_least=0.0)
    gate = (config.gate or {}) | {"evaluate": EVALUATE | asked}
    with pytest.raises(ValueError, match=r"val|cuda:99|num_dyad"):
        run(replace(config, judge=None, gate=gate))
    assert not Path(config.out).exists()


def run_on_rank(rank: int, root: str, port: int) -> None:
    launched_as(rank, port)
    torch.set_num_threads(1)
    config = judged(Path(root), *SHARDED, moves_at_least=0.0)
    filmed = load(["experiment=smoke/teacher", f"root={root}", *SHARDED]).samples
    assert run(replace(config, samples=filmed, gate=None)) == 0


@pytest.mark.ci
def test_two_ranks_with_shared_out_weights_are_judged_and_filmed(tmp_path: Path) -> None:
    """By the real evaluation too, in a process that others wait for; layers are computed again on top of it."""
    write_shipped_codecs_dataset(tmp_path / "shards", lengths={"d0": 30.0, "d1": 24.0})
    start(run_on_rank, str(tmp_path), free_port(), nprocs=2)
    out = tmp_path / "teacher"
    rows = read_rows(out / "judged.jsonl")
    assert [row["step"] for row in rows] == [2, 4]
    best = max(rows, key=lambda row: (row["value"], -row["step"]))["step"]
    done = json.loads((out / "done.json").read_text())
    assert (done["best_step"], done["artefacts"]) == (best, ["teacher.safetensors"])
    kept = out / "judged" / f"step_{best:08d}" / "teacher.safetensors"
    assert weights_sha256(load_checkpoint(out / "teacher.safetensors").model) == weights_sha256(
        load_checkpoint(kept).model
    )
    assert (out / "samples" / "step_00000004" / "teacher.mp4").stat().st_size > 0
