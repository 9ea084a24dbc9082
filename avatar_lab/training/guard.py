"""What must never happen silently: a non-finite number reaching the weights, or a frozen network moving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avatar_lab.sharded import is_sharded, local
from avatar_lab.tensors import DyadBatch
from avatar_lab.training import distributed

WINDOW_STEPS = 1000
"""Skipped updates are counted over this many latest steps."""


class NonFiniteGuard:
    """Refuses updates with a non-finite loss or gradient, on all ranks alike, and ends a run that keeps having them."""

    def __init__(self, *, max_skipped_steps: int, folder: Path) -> None:
        self.max_skipped_steps = max_skipped_steps
        self.path = folder / "skipped.jsonl"
        self.skipped: list[int] = []

    def accepts(self, *, loss: Tensor, gradient_norm: Tensor) -> bool:
        """Whether all ranks may step."""
        finite = bool(torch.isfinite(loss) & torch.isfinite(gradient_norm))
        return not distributed.any_rank(not finite, loss.device)

    def record(self, *, step: int, role: str, scalars: dict[str, float], batch: Any) -> None:
        """Write down which samples were in the batch.

        Raises:
            RuntimeError: more than ``max_skipped_steps`` of the latest ``WINDOW_STEPS`` steps had to be skipped.
        """
        samples = batch.sample_B.tolist() if isinstance(batch, DyadBatch) else None
        row = {"step": step, "role": role, "rank": distributed.rank(), "samples": samples, "values": scalars}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.skipped = sorted({s for s in self.skipped if s > step - WINDOW_STEPS} | {step})
        if len(self.skipped) > self.max_skipped_steps:
            raise RuntimeError(
                f"{len(self.skipped)} of the last {WINDOW_STEPS} steps had a non-finite loss or gradient "
                f"(max_skipped_steps={self.max_skipped_steps}); the batches are listed in {self.path}: lower the "
                "learning rate, look at those samples, or raise training.max_skipped_steps"
            )


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
