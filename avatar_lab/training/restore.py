"""The networks of a training checkpoint without a training loop around them."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from avatar_lab.stage.protocol import Stage
from avatar_lab.training.checkpointing import CheckpointStore
from avatar_lab.training.ema import EMA, averaged_roles


def latest_roles(*, stage: Stage, out: Path) -> tuple[nn.ModuleDict, int]:
    """Roles as evaluation and export see them, from the newest checkpoint in ``out``, and its step.

    Raises:
        ValueError: there is no checkpoint, or it is of another stage.
    """
    state = CheckpointStore(out / "checkpoints", keep=1).load_latest()
    if state is None:
        raise ValueError(f"no checkpoint below {out}: train it first")
    if state["stage"] != stage.name:
        raise ValueError(f"the checkpoint in {out} is of stage {state['stage']}, not {stage.name}")
    averages = {}
    for role, weights in state["roles"].items():
        stage.roles[role].load_state_dict(weights)
    for role, average in state["averages"].items():
        averages[role] = EMA(stage.roles[role], decay=0.0)
        averages[role].load_state_dict(average)
    return averaged_roles(stage.roles, averages), state["train_step"]
