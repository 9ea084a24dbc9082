"""Agreement between ranks. Every function is the identity when there is only one.

Gradients are averaged here, once per turn, and not by hooks of DistributedDataParallel: a stage calls its networks
directly and in alternation, which is outside what DDP's reducer supports.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


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
