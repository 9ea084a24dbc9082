"""Two ranks with shared-out weights train as one rank does, stop and go on exactly, and change their number."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from avatar_lab.sharded import is_sharded, whole
from avatar_lab.training import distributed, sharded_state
from avatar_lab.training.checkpointing import flushed
from avatar_lab.training.fit import Fit, Machine
from avatar_lab.training.metrics_log import read_rows
from avatar_lab.training.muon import Muon
from avatar_lab.training.optimizer import AdamW
from avatar_lab.training.restore import latest_roles
from avatar_lab.training.sharded_state import ShardedStore
from tests.factory import LAYOUT
from tests.training.ranks import free_port, launched_as, start
from tests.training.stages import STAGES
from tests.training.test_distributed import SharedDyads
from tests.training.toy import ToyStage


def fit_sharded(
    rank: int, folder: str, port: int, name: str, world_size: int, strategy: str, steps: int, out: str, lr: float
) -> None:
    launched_as(rank, port, world_size)
    torch.set_num_threads(1)
    stage = STAGES[name](Path(folder) / f"artefacts{world_size}{strategy}{rank}")
    optimizers = dict.fromkeys(stage.trained, AdamW(lr=lr))
    fit = Fit(steps=steps, optimizers=optimizers, ema_decay=0.9, accumulate=max(1, 2 // world_size), log_every_steps=1)
    machine = Machine(accelerator="cpu", devices=world_size, strategy=strategy)
    result = fit.run(stage=stage, data=SharedDyads(), layout=LAYOUT, out=Path(folder) / out, seed=3, machine=machine)
    assert result.steps_done == steps
    parameters = dict(stage.roles.named_parameters())
    assert any(is_sharded(p) for p in parameters.values()) == (strategy == "sharded")
    weights = {key: whole(p).detach() for key, p in parameters.items()}
    if distributed.rank() == 0:
        exported = dict(result.roles.named_parameters())
        torch.save((weights, exported), Path(folder) / f"{out}.{world_size}.{steps}.pt")


def run(
    folder: Path, name: str, world_size: int, strategy: str, steps: int, out: str, lr: float = 1e-3
) -> tuple[dict, dict]:
    """Weights and export of a run on ``world_size`` ranks."""
    start(fit_sharded, str(folder), free_port(), name, world_size, strategy, steps, out, lr, nprocs=world_size)
    return torch.load(folder / f"{out}.{world_size}.{steps}.pt", weights_only=True)


def assert_near(ours: tuple[dict, dict], theirs: tuple[dict, dict]) -> None:
    for some, others in zip(ours, theirs, strict=True):
        assert some.keys() == others.keys()
        for key, value in others.items():
            torch.testing.assert_close(some[key], value, atol=2e-5, rtol=1e-4, msg=lambda m, k=key: f"{k}: {m}")


def assert_equal(ours: tuple[dict, dict], theirs: tuple[dict, dict]) -> None:
    for some, others in zip(ours, theirs, strict=True):
        assert some.keys() == others.keys()
        assert [key for key, value in others.items() if not torch.equal(some[key], value)] == []


@pytest.mark.ci
@pytest.mark.parametrize("name", STAGES)
def test_sharded_ranks_train_as_one(tmp_path: Path, name: str) -> None:
    sharded = run(tmp_path, name, 2, "sharded", 4, "two")
    alone = run(tmp_path, name, 1, "replicas", 4, "one")
    assert_near(sharded, alone)


@pytest.mark.ci
def test_resume_is_exact_and_state_moves_to_other_numbers_of_ranks(tmp_path: Path) -> None:
    """Saved on two, loaded on one; saved on one, loaded on four; moments and averages too, or one would not go on as
    two do."""
    straight = run(tmp_path, "teacher", 2, "sharded", 4, "straight")
    stopped = run(tmp_path, "teacher", 2, "sharded", 2, "out")
    assert any(not torch.equal(straight[0][key], value) for key, value in stopped[0].items())
    exported, step = latest_roles(stage=STAGES["teacher"](tmp_path / "fresh"), out=tmp_path / "out")
    assert_equal((dict(exported.named_parameters()), {}), (stopped[1], {}))
    assert step == 2
    shutil.copytree(tmp_path / "out", tmp_path / "moved")
    assert_equal(run(tmp_path, "teacher", 2, "sharded", 4, "out"), straight)
    assert_equal(run(tmp_path, "teacher", 1, "sharded", 2, "moved"), stopped)
    alone = run(tmp_path, "teacher", 1, "sharded", 4, "moved")
    assert_near(alone, straight)
    assert_equal(run(tmp_path, "teacher", 4, "sharded", 4, "moved"), alone)


@pytest.mark.ci
def test_a_changed_learning_rate_holds_and_a_damaged_part_is_put_aside(tmp_path: Path) -> None:
    for steps in (1, 2):
        run(tmp_path, "teacher", 1, "sharded", steps, "out")
    (part,) = (tmp_path / "out" / "checkpoints" / "step_00000002").glob("*.distcp")
    part.write_bytes(b"cut")
    run(tmp_path, "teacher", 2, "sharded", 2, "out", lr=1e-4)
    assert [row["teacher/lr"] for row in read_rows(tmp_path / "out" / "metrics.jsonl")] == [1e-3, 1e-4]
    names = sorted(path.name[:21] for path in (tmp_path / "out" / "checkpoints").iterdir() if path.is_dir())
    assert names == ["damaged_step_00000002", "step_00000001", "step_00000002"]


def fit_noting_what_is_measured(rank: int, folder: str, port: int) -> None:
    """Each rank writes down the parts that it reads again."""

    def noted(path: Path) -> dict:
        (Path(folder) / f"rank{os.environ['LOCAL_RANK']}.{path.name}").touch()
        return flushed(path)

    sharded_state.flushed = noted
    fit_sharded(rank, folder, port, "teacher", 2, "sharded", 2, "out", 1e-3)


@pytest.mark.ci
def test_each_rank_measures_its_part_as_one_that_reads_all_would(tmp_path: Path) -> None:
    start(fit_noting_what_is_measured, str(tmp_path), free_port(), nprocs=2)
    assert sorted(path.name for path in tmp_path.glob("rank*")) == ["rank0.__0_0.distcp", "rank1.__1_0.distcp"]
    folder = tmp_path / "out" / "checkpoints" / "step_00000002"
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert files == {path.name: flushed(path) for path in folder.iterdir() if path.name != "manifest.json"}
    assert list(files) == [".metadata", "__0_0.distcp", "__1_0.distcp", "state.pt"]
    part = bytearray((folder / "__1_0.distcp").read_bytes())
    part[len(part) // 2] ^= 1
    (folder / "__1_0.distcp").write_bytes(part)
    assert ShardedStore(folder.parent, keep=1).complete() == [folder]
    with pytest.raises(ValueError, match="are damaged"):
        ShardedStore(folder.parent, keep=1).newest_intact()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not one of"):
        Machine(strategy="engine")
    fit = Fit(steps=1, optimizers={"student": Muon(lr=1.0, spared=("*out*",)), "critic": AdamW(lr=1.0)})
    machine = Machine(accelerator="cpu", strategy="sharded")
    student = r"training\.optimizers\.student"
    with pytest.raises(ValueError, match=rf"choose AdamW \(optimizer@{student}=adamw ~{student}\.spared\)"):
        fit.run(stage=ToyStage(), data=SharedDyads(), layout=LAYOUT, out=tmp_path, seed=0, machine=machine)
