"""Two ranks agree on what to skip and on the mean gradient; one rank needs no process group."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from avatar_lab.training import distributed
from avatar_lab.training.guard import NonFiniteGuard


def test_alone_everything_is_the_identity() -> None:
    parameter = nn.Parameter(torch.ones(2))
    distributed.average_gradients([parameter])
    assert parameter.grad is None
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.any_rank(True, torch.device("cpu"))
    assert not distributed.any_rank(False, torch.device("cpu"))


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
    guard = NonFiniteGuard(max_skipped_steps=1, folder=Path(folder))
    poisoned = torch.tensor(float("nan") if rank == 1 else 1.0)
    assert not guard.accepts(loss=poisoned, gradient_norm=torch.tensor(1.0))
    assert guard.accepts(loss=torch.tensor(1.0), gradient_norm=torch.tensor(1.0))
    dist.destroy_process_group()


@pytest.mark.ci
def test_two_ranks_agree(tmp_path: Path) -> None:
    mp.spawn(two_ranks, args=(str(tmp_path),), nprocs=2)
