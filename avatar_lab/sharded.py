"""Tensors whose parts lie on several ranks (``DTensor``): whose they are, the part that lies here, and all of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def shared_maps(network: nn.Module) -> list[nn.Linear]:
    """The maps in ``network`` whose weights a sharded run shares out: those that are linear and nothing more."""
    return [module for module in network.modules() if type(module) is nn.Linear]


def is_sharded(tensor: Tensor) -> bool:
    return isinstance(tensor, DTensor)


def local(tensor: Tensor) -> Tensor:
    """The part of ``tensor`` on this rank, in the same memory; a tensor that is not sharded is its own part."""
    return cast(DTensor, tensor.detach()).to_local() if isinstance(tensor, DTensor) else tensor


def locals_of(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The parts on this rank: ``torch._foreach_*`` takes no mixture of sharded and other tensors."""
    return [local(tensor) for tensor in tensors]


def whole(tensor: Tensor) -> Tensor:
    """All of ``tensor``; every rank must ask."""
    return cast(DTensor, tensor.detach()).full_tensor() if isinstance(tensor, DTensor) else tensor
