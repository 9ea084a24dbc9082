"""The networks of a training checkpoint without a training loop around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from avatar_lab.stage.protocol import Stage
from avatar_lab.training.checkpointing import CheckpointStore
from avatar_lab.training.ema import EMA, averaged_roles
from avatar_lab.training.sharded_module import weights_by_name
from avatar_lab.training.sharded_state import ShardedStore, load_tensors


def latest_roles(*, stage: Stage, out: Path) -> tuple[nn.ModuleDict, int]:
    """Roles as evaluation and export see them, from the newest checkpoint in ``out``, in one file or in parts, and its
    step.

    Raises:
        ValueError: there is no checkpoint, or it is of another stage.
    """
    store = ShardedStore(out / "checkpoints", keep=1)
    read = _parts if store.newest_format() == store.format else _whole
    found = read(stage, out / "checkpoints")
    if found is None:
        raise ValueError(f"no checkpoint below {out}: train it first")
    averages, state = found
    return averaged_roles(stage.roles, averages), state["train_step"]


def _whole(stage: Stage, folder: Path) -> tuple[dict[str, EMA], dict[str, Any]] | None:
    state = CheckpointStore(folder, keep=1).load_latest()
    if state is None:
        return None
    _check_stage(stage, state, folder)
    averages = {}
    for role, weights in state["roles"].items():
        stage.roles[role].load_state_dict(weights)
    for role, average in state["averages"].items():
        averages[role] = EMA(stage.roles[role], decay=0.0)
        averages[role].load_state_dict(average)
    return averages, state


def _parts(stage: Stage, folder: Path) -> tuple[dict[str, EMA], dict[str, Any]] | None:
    """Of weights that ranks had shared out, put together on one."""
    store = ShardedStore(folder, keep=1)
    parts = store.newest_intact()
    if parts is None:
        return None
    state = store.read(parts)
    _check_stage(stage, state, folder)
    averages = {role: EMA(stage.roles[role], decay=0.0) for role in state["updates"]}
    load_tensors(parts, weights_by_name(stage, averages))
    for role, average in averages.items():
        average.updates = state["updates"][role]
    return averages, state


def _check_stage(stage: Stage, state: dict[str, Any], folder: Path) -> None:
    if state["stage"] != stage.name:
        raise ValueError(f"the checkpoint in {folder} is of stage {state['stage']}, not {stage.name}")
