"""Stage ``codec``: trains one embedded codec, audio or video, from an objective that knows its modality."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from avatar_lab.objective.losses import Losses

ROLE = "codec"


class CodecStage:
    """A stage with one network, one objective and one update per step.

    Args:
        name: name of the stage in logs and lineage.
        codec: the network; what is exported under ``name``.
        objective: ``(net, batch, rng) -> Losses``.
    """

    trained = (ROLE,)
    followers = ()
    averaged = (ROLE,)
    card = None

    def __init__(
        self, *, name: str, codec: nn.Module, objective: Callable[[Any, Any, torch.Generator], Losses]
    ) -> None:
        self.name = name
        self.roles = nn.ModuleDict({ROLE: codec})
        self.objective = objective

    def turns(self, batch: Any, step: int, rng: torch.Generator) -> Iterator[tuple[str, Losses]]:
        """One update of the codec."""
        yield ROLE, self.objective(self.roles[ROLE], batch, rng)

    def export(self, roles: nn.ModuleDict) -> dict[str, nn.Module]:
        return {self.name: roles[ROLE]}
