"""What must never move silently: a frozen network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatar_lab.sharded import is_sharded, local
from avatar_lab.training import distributed


class FrozenGuard:
    """Remembers the bits of everything without a gradient and of every untrained role, and compares them later."""

    def __init__(self, roles: nn.ModuleDict) -> None:
        self.roles = roles
        self.checksums = self._measure()

    def _measure(self) -> dict[str, int]:
        return {name: checksum(p) for name, p in self.roles.named_parameters() if not p.requires_grad}

    def check(self) -> None:
        """Compare with the state at construction.

        Raises:
            RuntimeError: a frozen parameter has changed.
        """
        now = self._measure()
        moved = [name for name, value in self.checksums.items() if now[name] != value]
        if moved:
            raise RuntimeError(
                f"frozen parameters changed during training: {moved[:3]}; the stage updates a role it must not"
            )


def checksum(tensor: Tensor) -> int:
    """Sum of the raw bits: cheap, exact, and enough to notice that something frozen has moved. That of a sharded
    tensor is the sum over its parts, for which every rank must ask, and the same whatever their number."""
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    total = local(tensor).detach().contiguous().flatten().view(integer).sum(dtype=torch.int64)
    return int(distributed.sum_over_ranks(total) if is_sharded(tensor) else total)
