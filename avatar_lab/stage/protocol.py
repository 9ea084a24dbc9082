"""What a stage offers to the training loop; the loop itself (``training/module.py``) knows nothing else about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import nn

from avatar_lab.objective.losses import Losses


class Stage(Protocol):
    """One node of the training graph."""

    name: str
    roles: nn.ModuleDict
    """Every network of the stage by role (``teacher``, ``student``, ``critic`` ...), the frozen ones included."""
    trained: tuple[str, ...]
    """Roles that own an optimiser. All others must not change; the loop asserts it."""
    averaged: tuple[str, ...]
    """Trained roles that keep an exponential moving average, which is what evaluation and export use."""

    def turns(self, batch: Any, step: int, rng: torch.Generator) -> Iterator[tuple[str, Losses]]:
        """Yield ``(role, losses)`` for each update due at ``step``, lazily: the loop steps the role's optimiser before
        it asks for the next, so that one graph is freed before another is built. All randomness comes from ``rng``."""
        ...

    def export(self, roles: nn.ModuleDict) -> dict[str, nn.Module]:
        """Artefacts by file stem, taken from ``roles`` (the averaged copies where there are any)."""
        ...
