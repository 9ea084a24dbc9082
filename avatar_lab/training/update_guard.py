"""Updates that are not like the others: non-finite ones never reach the weights, spikes are told and left out if asked.

A spike is a gradient whose norm, over all ranks and before clipping, is ``spike_factor`` times its recent level in that
role. Clipping bounds what it does, so that most pass by themselves; a batch that makes one is worth a look.
"""

from __future__ import annotations

import json
import logging
import math
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatar_lab.tensors import DyadBatch
from avatar_lab.training import distributed

log = logging.getLogger(__name__)

WINDOW_STEPS = 1000
"""Updates that were left out are counted over this many latest steps."""
FORGETTING = 0.98
"""The level is a geometric mean over the last fifty or so updates of a role."""
FIRST_UPDATES = 50
"""So many updates of a role have no level yet: at the start norms fall by themselves."""


class Oddity(StrEnum):
    """Why an update is not like the others."""

    NON_FINITE = "non-finite"
    SPIKE = "spike"


class UpdateGuard:
    """Looks at every update before it is made, alike on all ranks, and ends a run that keeps leaving them out.

    spike_factor  None: spikes are not looked for
    """

    def __init__(
        self,
        *,
        max_skipped_steps: int,
        folder: Path,
        spike_factor: float | None = None,
        skip_spikes: bool = False,
    ) -> None:
        self.max_skipped_steps = max_skipped_steps
        self.spike_factor, self.skip_spikes = spike_factor, skip_spikes
        self.path = folder / "odd_steps.jsonl"
        self.skipped: list[int] = []
        self.levels: dict[str, list[float]] = {}
        """Of each role: mean logarithm of the norm, and how many updates are in it."""

    def look(self, *, role: str, loss: Tensor, gradient_norm: Tensor) -> Oddity | None:
        """What is odd about an update, if anything. Every rank must ask, once per update."""
        finite = bool(torch.isfinite(loss) & torch.isfinite(gradient_norm))
        if distributed.any_rank(not finite, loss.device):
            return Oddity.NON_FINITE
        return Oddity.SPIKE if self._rises(role, float(gradient_norm)) else None

    def leaves_out(self, oddity: Oddity | None) -> bool:
        """Whether such an update is not made."""
        return oddity is Oddity.NON_FINITE or (oddity is Oddity.SPIKE and self.skip_spikes)

    def _rises(self, role: str, norm: float) -> bool:
        """Whether ``norm`` is far above its level, which then follows it slowly."""
        if self.spike_factor is None or norm == 0:
            return False
        level, count = self.levels.get(role, [math.log(norm), 0])
        limit = level + math.log(self.spike_factor)
        spike = count >= FIRST_UPDATES and math.log(norm) > limit
        kept = min(FORGETTING, count / (count + 1))
        self.levels[role] = [kept * level + (1 - kept) * min(math.log(norm), limit), count + 1]
        return spike

    def record(self, oddity: Oddity, *, step: int, role: str, scalars: dict[str, float], batch: Any) -> None:
        """Write down which samples were in the batch.

        Raises:
            RuntimeError: more than ``max_skipped_steps`` of the latest ``WINDOW_STEPS`` steps had to be left out.
        """
        left_out = self.leaves_out(oddity)
        samples = batch.sample_B.tolist() if isinstance(batch, DyadBatch) else None
        row = {"step": step, "role": role, "rank": distributed.rank(), "oddity": oddity, "left_out": left_out}
        with self.path.open("a") as file:
            file.write(json.dumps(row | {"samples": samples, "values": scalars}) + "\n")
        log.warning(
            "step %d, %s: %s gradient, the update is %s; its samples are in %s",
            step, role, oddity, "left out" if left_out else "clipped and made", self.path,
        )  # fmt: skip
        if not left_out:
            return
        self.skipped = sorted({s for s in self.skipped if s > step - WINDOW_STEPS} | {step})
        if len(self.skipped) > self.max_skipped_steps:
            raise RuntimeError(
                f"{len(self.skipped)} of the last {WINDOW_STEPS} steps had a non-finite loss or gradient"
                f"{', or one that rose suddenly,' if self.skip_spikes else ''} "
                f"(max_skipped_steps={self.max_skipped_steps}); the batches are listed in {self.path}: lower the "
                "learning rate, look at those samples, or raise training.max_skipped_steps"
            )
