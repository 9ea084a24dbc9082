"""What of a sharded ``StageModule`` goes into a checkpoint: plain values, and tensors by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from avatar_lab.stage.protocol import Stage
from avatar_lab.training.ema import EMA
from avatar_lab.training.module import StageModule
from avatar_lab.training.sharded_state import ShardedStore, load_tensors

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""State of AdamW for one parameter."""
IN_TENSORS = ("roles", "averages", "optimizers")
"""Parts of ``StageModule.training_state`` that are taken apart by name."""


def save_sharded(store: ShardedStore, module: StageModule) -> None:
    """Write a checkpoint; every rank must call."""
    plain = {name: value for name, value in module.training_state().items() if name not in IN_TENSORS}
    plain["updates"] = {role: average.updates for role, average in module.averages.items()}
    plain["moved"] = {role: sorted(_moved(module, role)) for role in module.stage.trained}
    store.save_parts(plain, _tensors(module, plain["moved"]), step=module.train_step)


def load_sharded(store: ShardedStore, module: StageModule) -> bool:
    """Restore the newest checkpoint, written by any number of ranks; whether there was one. Every rank must call.

    Raises:
        ValueError: as ``StageModule.load_training_state`` and ``load_tensors``.
    """
    found = store.newest()
    if found is None:
        return False
    plain, folder = found
    module.check_same_run(plain)
    for role, names in plain["moved"].items():
        parameters = dict(module.roles[role].named_parameters())
        for name in names:
            parameter = parameters[name]
            moments = {key: torch.zeros_like(parameter.detach()) for key in MOMENTS[1:]}
            count = torch.zeros((), dtype=torch.float32, device=parameter.device)
            module.role_optimizers[role].state[parameter] = {"step": count} | moments
    load_tensors(folder, _tensors(module, plain["moved"]))
    for role, average in module.averages.items():
        average.updates = plain["updates"][role]
    module.load_plain_state(plain)
    return True


def _moved(module: StageModule, role: str) -> list[str]:
    """Parameters that the optimiser has moved at least once."""
    state = module.role_optimizers[role].state
    return [name for name, parameter in module.roles[role].named_parameters() if state.get(parameter)]


def weights_by_name(stage: Stage, averages: Mapping[str, EMA]) -> dict[str, Tensor]:
    """Networks that training changes, and averages, as they are called in a checkpoint."""
    found: dict[str, Tensor] = {}
    for role in (*stage.trained, *(follower.role for follower in stage.followers)):
        found |= {f"roles/{role}/{name}": tensor for name, tensor in stage.roles[role].state_dict().items()}
    for role, average in averages.items():
        found |= {f"averages/{role}/{name}": tensor for name, tensor in average.shadow.items()}
    return found


def _tensors(module: StageModule, moved: dict[str, list[str]]) -> dict[str, Tensor]:
    found: dict[str, Any] = weights_by_name(module.stage, module.averages)
    for role, names in moved.items():
        parameters, state = dict(module.roles[role].named_parameters()), module.role_optimizers[role].state
        found |= {f"optimizers/{role}/{n}/{key}": state[parameters[n]][key] for n in names for key in MOMENTS}
    return found
