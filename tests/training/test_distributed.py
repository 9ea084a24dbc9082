"""Two ranks agree on what to skip and on the mean gradient; one rank needs no process group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import TensorDataset

from avatar_lab.data import map_batches
from avatar_lab.data.map_batches import MapBatches
from avatar_lab.tensors import DyadBatch
from avatar_lab.training import checkpointing, distributed
from avatar_lab.training.checkpointing import CheckpointStore
from avatar_lab.training.fit import Fit, Machine
from avatar_lab.training.microbatches import split_batch
from avatar_lab.training.optimizer import AdamW
from avatar_lab.training.state_files import WholeState
from avatar_lab.training.update_guard import Oddity, UpdateGuard
from tests.factory import LAYOUT
from tests.training.ranks import free_port, launched_as, start
from tests.training.stages import STAGES, RandomDyads


def test_alone_everything_is_the_identity() -> None:
    parameter = nn.Parameter(torch.ones(2))
    distributed.average_gradients([parameter])
    assert parameter.grad is None
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.any_rank(True, torch.device("cpu"))
    assert not distributed.any_rank(False, torch.device("cpu"))


def test_ranks_share_the_items_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = MapBatches(dataset=TensorDataset(torch.arange(10)), batch_size=4)
    (alone,) = next(batches.loader(1, 0))
    shares = []
    for rank in range(2):
        monkeypatch.setattr(map_batches, "place_of_process", lambda rank=rank: (rank, 2))
        shares += next(batches.loader(1, 0))
    assert torch.equal(torch.cat(shares), alone)
    monkeypatch.setattr(map_batches, "place_of_process", lambda: (0, 3))
    with pytest.raises(ValueError, match="choose a multiple"):
        next(batches.loader(0, 0))


def two_ranks(rank: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    first, second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))
    first.grad = torch.full((2,), float(rank + 1))
    if rank == 0:
        second.grad = torch.ones(3)
    distributed.average_gradients([first, second])
    assert first.grad.tolist() == [1.5, 1.5]
    assert second.grad is not None
    assert second.grad.tolist() == [0.5, 0.5, 0.5]
    guard = UpdateGuard(max_skipped_steps=1, folder=Path(folder))
    poisoned = torch.tensor(float("nan") if rank == 1 else 1.0)
    assert guard.look(role="x", loss=poisoned, gradient_norm=torch.tensor(1.0)) is Oddity.NON_FINITE
    assert guard.look(role="x", loss=torch.tensor(1.0), gradient_norm=torch.tensor(1.0)) is None
    dist.destroy_process_group()


def restore_on_two_ranks(rank: int, folder: str) -> None:
    launched_as(rank, 0)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    steps: list[int] = []
    module: Any = SimpleNamespace(
        device=torch.device("cpu"), load_training_state=lambda state: steps.append(state["train_step"])
    )
    shared = WholeState(Path(folder) / "checkpoints", keep=2)
    checkpointing._intact = lambda found: rank == 0  # as where a file has not come to another machine yet
    assert shared.restore(module)
    assert steps == [2]
    assert not WholeState(Path(folder) / "empty", keep=2).restore(module)
    apart = WholeState(Path(folder) / ("checkpoints" if rank == 0 else "elsewhere"), keep=2)
    which = "another rank" if rank == 0 else "this rank"
    with pytest.raises(ValueError, match=f"{which} does not see: out= must be on a file system that all ranks share"):
        apart.restore(module)
    checkpointing._intact = lambda found: False
    with pytest.raises(ValueError, match="are damaged" if rank == 0 else "its own message says why"):
        shared.restore(module)
    dist.destroy_process_group()


@pytest.mark.ci
def test_replicas_resume_from_what_the_first_rank_finds(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    for step in (1, 2):
        store.save({"stage": "toy", "train_step": step}, step=step)
    start(restore_on_two_ranks, str(tmp_path), nprocs=2)


@pytest.mark.ci
def test_two_ranks_agree(tmp_path: Path) -> None:
    start(two_ranks, str(tmp_path), nprocs=2)


def fit_on_two_ranks(rank: int, folder: str, port: int, name: str) -> None:
    launched_as(rank, port)
    torch.set_num_threads(1)
    stage = STAGES[name](Path(folder) / f"artefacts{rank}")
    fit = Fit(steps=6, optimizers=dict.fromkeys(stage.trained, AdamW(lr=1e-2)), ema_decay=0.9)
    machine = Machine(accelerator="cpu", devices=2)
    result = fit.run(stage=stage, data=RandomDyads(), layout=LAYOUT, out=Path(folder) / "out", seed=3, machine=machine)
    assert (result.steps_done, result.exit_code) == (6, 0)
    torch.save(dict(stage.roles.named_parameters()), Path(folder) / f"roles{rank}.pt")


class SharedDyads(RandomDyads):
    """Random conversations of which every rank gets its share."""

    def loader(self, start_step: int, num_workers: int) -> Iterator[DyadBatch]:
        for batch in super().loader(start_step, num_workers):
            yield split_batch(batch, distributed.world_size())[distributed.rank()]


def fit_shares(rank: int, folder: str, port: int, name: str, world_size: int, steps: int, out: str) -> None:
    """Steps of two micro-batches in all, over one rank or two."""
    if world_size > 1:
        launched_as(rank, port)
    torch.set_num_threads(1)
    stage = STAGES[name](Path(folder) / f"artefacts{world_size}{rank}")
    optimizers = dict.fromkeys(stage.trained, AdamW(lr=1e-3))
    fit = Fit(steps=steps, optimizers=optimizers, ema_decay=0.9, accumulate=2 // world_size, log_every_steps=1)
    machine = Machine(accelerator="cpu", devices=world_size)
    fit.run(stage=stage, data=SharedDyads(), layout=LAYOUT, out=Path(folder) / out, seed=3, machine=machine)
    if rank == 0:
        torch.save(dict(stage.roles.named_parameters()), Path(folder) / f"{out}.pt")


@pytest.mark.ci
@pytest.mark.parametrize("name", ["initialise_by_consistency", "self_forcing"])
def test_micro_batches_take_the_step_of_as_many_ranks(tmp_path: Path, name: str) -> None:
    """Also by a run that changes their number on the way, twice (fault row 3)."""
    start(fit_shares, str(tmp_path), free_port(), name, 2, 3, "ranks", nprocs=2)
    start(fit_shares, str(tmp_path), 0, name, 1, 3, "parts", nprocs=1)
    for world_size, steps in ((2, 1), (1, 2), (2, 3)):
        start(fit_shares, str(tmp_path), free_port(), name, world_size, steps, "changing", nprocs=world_size)
    ranks, parts, changing = (
        torch.load(tmp_path / f"{out}.pt", weights_only=True) for out in ("ranks", "parts", "changing")
    )
    fresh = dict(STAGES[name](tmp_path / "start").roles.named_parameters())
    for key, value in parts.items():
        torch.testing.assert_close(ranks[key], value, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(changing[key], value, atol=1e-6, rtol=1e-5)
    moved = [key for key, value in parts.items() if not torch.equal(value, fresh[key])]
    assert {key.split(".")[0] for key in moved} == {*STAGES[name](tmp_path / "start").trained} | (
        {"slow"} if name == "initialise_by_consistency" else set()
    )


@pytest.mark.ci
@pytest.mark.parametrize("name", ["teacher", "self_forcing", "see"])
def test_stages_train_on_two_ranks_and_keep_their_networks_equal(tmp_path: Path, name: str) -> None:
    """Roles take turns, which DistributedDataParallel would not survive; noise warps are fitted along the way."""
    before = dict(STAGES[name](tmp_path / "start").roles.named_parameters())
    start(fit_on_two_ranks, str(tmp_path), free_port(), name, nprocs=2)
    first, second = (torch.load(tmp_path / f"roles{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], before[key]) for key in first)
