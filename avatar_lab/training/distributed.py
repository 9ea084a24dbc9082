"""Agreement between ranks. Every function is the identity when there is only one.

Gradients are averaged here, once per turn; buffers (noise warps, statistics) are those of the first rank.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

_LAUNCHERS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Environment variables in which launchers number processes."""


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process; before the ranks have met, what the launcher says."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return next((int(os.environ[name]) for name in _LAUNCHERS if name in os.environ), 0)


def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite ``tensors`` by those of rank 0."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=0)


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether ``flag`` holds on at least one rank; all ranks get the same answer."""
    if world_size() == 1:
        return flag
    votes = torch.tensor(int(flag), device=device)
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace gradients by their mean over ranks; a missing gradient counts as zero."""
    if world_size() == 1:
        return
    trained = list(parameters)
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([parameter.grad.flatten() for parameter in trained if parameter.grad is not None])
    dist.all_reduce(flat)
    flat /= world_size()
    for parameter, part in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
        assert parameter.grad is not None
        parameter.grad.copy_(part.view_as(parameter))
