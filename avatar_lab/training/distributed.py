"""Agreement between ranks. Every function is the identity when there is only one.

Gradients are averaged here, once per turn; buffers (noise warps, statistics) are those of the first rank.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from avatar_lab.sharded import is_sharded, local

_LAUNCHERS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Environment variables in which launchers number processes."""


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process; before the ranks have met, what the launcher says."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return next((int(os.environ[name]) for name in _LAUNCHERS if name in os.environ), 0)


def copy_from_first(tensors: Iterable[Tensor], *, by_way_of: torch.device | None = None) -> None:
    """Overwrite ``tensors`` by those of rank 0; ``by_way_of`` a device that ranks can exchange, one after the other."""
    if world_size() > 1:
        for tensor in tensors:
            sent = tensor.detach() if by_way_of is None else tensor.detach().to(by_way_of)
            dist.broadcast(sent, src=0)
            if by_way_of is not None:
                tensor.detach().copy_(sent)


def largest(value: int, device: torch.device) -> int:
    """The largest ``value`` of all ranks; none goes on before all have come here."""
    if world_size() == 1:
        return value
    votes = torch.tensor(value, device=device)
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return int(votes)


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether ``flag`` holds on at least one rank; all ranks get the same answer."""
    return bool(largest(int(flag), device))


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace gradients by their mean over ranks; a missing gradient counts as zero."""
    if world_size() == 1:
        return
    trained = [parameter for parameter in parameters if not is_sharded(parameter)]  # FSDP2 has averaged the others
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if not trained:
        return
    flat = torch.cat([parameter.grad.flatten() for parameter in trained if parameter.grad is not None])
    dist.all_reduce(flat)
    flat /= world_size()
    for parameter, part in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
        assert parameter.grad is not None
        parameter.grad.copy_(part.view_as(parameter))


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum of every rank's ``tensor``; it is overwritten."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def clip_gradients(parameters: Iterable[Tensor], largest: float) -> Tensor:
    """Scale gradients down to a common 2-norm of ``largest``; returns the norm before, the same on all ranks."""
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    if not any(is_sharded(parameter) for parameter in trained):
        return nn.utils.clip_grad_norm_(trained, largest)
    gradients = [(parameter.grad, is_sharded(parameter)) for parameter in trained if parameter.grad is not None]
    here = torch.stack([local(grad).double().square().sum() for grad, sharded in gradients if sharded]).sum()
    everywhere = [grad.double().square().sum() for grad, sharded in gradients if not sharded]
    total = sum_over_ranks(here) + (torch.stack(everywhere).sum() if everywhere else 0.0)
    norm = total.sqrt().to(gradients[0][0].dtype)
    torch._foreach_mul_([local(grad) for grad, _ in gradients], (largest / (norm + 1e-6)).clamp(max=1.0))
    return norm
