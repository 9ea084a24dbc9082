"""What a stage offers to the training loop; the loop itself (``training/module.py``) knows nothing else about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from avatar_lab.checkpoint import Card, Checkpoint
from avatar_lab.objective.losses import Losses
from avatar_lab.sharded import locals_of


@dataclass(frozen=True, kw_only=True)
class Follower:
    """A role that is the exponential moving average of a trained one, for use while training; checkpoints hold it."""

    role: str
    leader: str
    decay: float

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay {self.decay:g} of {self.role} must lie in [0, 1): at 1 it would never move")

    @torch.no_grad()
    def move(self, roles: nn.ModuleDict) -> None:
        """Follow one update of the leader."""
        slow, fast = roles[self.role].parameters(), roles[self.leader].parameters()
        torch._foreach_lerp_(locals_of(slow), locals_of(fast), 1 - self.decay)


class InitialWeights(Protocol):
    """Weights from outside this project that a fresh model may start with."""

    def warm(self, start: Checkpoint) -> Checkpoint:
        """``start`` with them in its model, and named in its lineage."""
        ...


Turn = tuple[str, Losses | Iterator[Losses]]
"""A role, and the losses of its update: all at once, or in parts that add up, each of which is back-propagated before
the next is asked for."""


def parts_of(losses: Losses | Iterator[Losses]) -> Iterator[Losses]:
    """The losses of a turn as parts; losses that come at once are the only one."""
    yield from (losses,) if isinstance(losses, Losses) else losses


class Stage(Protocol):
    """One node of the training graph."""

    name: str
    roles: nn.ModuleDict
    """Every network of the stage by role (``teacher``, ``student``, ``critic`` ...), the frozen ones included."""
    trained: tuple[str, ...]
    """Roles that own an optimiser. All others must not change; the loop asserts it."""
    followers: tuple[Follower, ...]
    """Untrained roles that move with a trained one."""
    averaged: tuple[str, ...]
    """Trained roles that keep an exponential moving average, which is what evaluation and export use."""

    @property
    def card(self) -> Card | None:
        """What its artefacts will say of themselves, with what they descend from; None where they say nothing."""
        ...

    def turns(self, batch: Any, step: int, rng: torch.Generator) -> Iterator[Turn]:
        """Yield ``(role, losses)`` for each update due at ``step``, lazily: the loop steps the role's optimiser before
        it asks for the next, so that one graph is freed before another is built. An update's losses may come in parts
        that add up, for the same reason. All randomness comes from ``rng``.

        A step in micro-batches takes the same turns once per micro-batch, side by side: which roles are due depends on
        ``step`` alone, and what happens before the first turn must do no harm when it happens again."""
        ...

    def export(self, roles: nn.ModuleDict) -> dict[str, nn.Module]:
        """Artefacts by file stem, taken from ``roles`` (the averaged copies where there are any)."""
        ...
