"""Weights shared out over ranks: FSDP2's ``fully_shard`` on every ``nn.Linear`` of every role, frozen ones included.

Why the linear maps and not the layers. FSDP2 gathers weights in hooks of a module's ``__call__`` and finds gradients
through tensors in its output. A turn reaches a layer by several ways: ``dit.project`` uses its cross-attentions outside
its forward, blocks go through ``predict_block`` and ``write_block``, and what passes between them are dataclasses,
in which FSDP2 looks for no tensors. An ``nn.Linear`` is only ever called, with one tensor in and one out, so every way
is right without a word about it. The linear maps are nearly all weights of a transformer; norms, tables, positions and
convolutions stay whole on every rank and their gradients are averaged as in ``distributed.py``.

What it costs: each map is gathered by itself, when it is needed, and waits for what was computed before. Nothing is
gathered ahead. All ranks must call the same maps in the same order: nothing drawn or read by one rank may decide which.
"""

from __future__ import annotations

import warnings
from copy import deepcopy
from datetime import timedelta

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from avatar_lab.model.memory import Memory
from avatar_lab.sharded import shared_maps, whole
from avatar_lab.training import distributed
from avatar_lab.training.replicas import Replicas

STRATEGIES = ("replicas", "sharded")


def strategy_of(name: str, processes: int, patience: timedelta) -> DDPStrategy | str:
    """Lightning's part. Sharded runs need a process group on one process too: one of several may go on there."""
    return "auto" if (name, processes) == ("replicas", 1) else Replicas(timeout=patience)


def shard(roles: nn.ModuleDict, *, device: torch.device, precision: str) -> None:
    """Share out the linear maps of ``roles`` over all ranks, in place. All ranks must hold the same weights before.

    precision  Lightning's name. On GPUs ``bf16-mixed`` also gathers in bfloat16, in which autocast would multiply
               anyway; gradients are summed in fp32. On CPUs blocks are rolled out in fp32 (``block_products``).
    """
    # our layers never write into what a linear map returned
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(device.type, (distributed.world_size(),))
    half = precision == "bf16-mixed" and device.type == "cuda"
    halved = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    policy = halved if half else MixedPrecisionPolicy()
    for linear in shared_maps(roles):
        fully_shard(linear, mesh=mesh, reshard_after_forward=True, mp_policy=policy)
    for memory in [module for module in roles.modules() if isinstance(module, Memory)]:
        memory.embed_absent = True


def skeletons(roles: nn.ModuleDict) -> nn.ModuleDict:
    """Copies of ``roles`` without weights (meta device), to be made before they are sharded: then it is too late."""
    empty: dict[int, Tensor] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in roles.parameters()
    }
    return deepcopy(roles, empty)


def whole_roles(roles: nn.ModuleDict, skeleton: nn.ModuleDict, shadows: dict[str, dict[str, Tensor]]) -> nn.ModuleDict:
    """Complete copies of ``roles``, in evaluation mode, with ``shadows`` (averages by role and parameter) in the place
    of weights. Every rank must ask; only the first one gets weights, the others get the skeleton."""
    copies = deepcopy(skeleton).eval().requires_grad_(False)
    for role, network in roles.items():
        state = {}
        for name, tensor in network.state_dict().items():
            full = whole(shadows.get(role, {}).get(name, tensor))
            if distributed.rank() == 0:
                state[name] = full.to("cpu", tensor.dtype, copy=True)
        if state:
            copies[role].load_state_dict(state, assign=True)
    return copies
