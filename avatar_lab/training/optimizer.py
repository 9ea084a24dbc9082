"""AdamW settings of one role and learning-rate schedules as pure functions of the step.

Nothing here has memory beyond the optimiser's own state: a schedule needs no checkpoint. Decoupled weight decay
(Loshchilov & Hutter 2019, arXiv:1711.05101) acts on matrices only, as usual for transformers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from avatar_lab.sharded import is_sharded


class Schedule(Protocol):
    def factor(self, step: int, total_steps: int) -> float:
        """Factor on the base learning rate at ``step`` of ``total_steps``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Constant:
    """Linear warm-up, then constant."""

    warmup_steps: int = 0

    def factor(self, step: int, total_steps: int) -> float:
        return _warmup(step, self.warmup_steps)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Linear warm-up, then half a cosine down to ``floor`` at the last step (Loshchilov & Hutter 2017)."""

    warmup_steps: int = 0
    floor: float = 0.1

    def factor(self, step: int, total_steps: int) -> float:
        span = max(1, total_steps - self.warmup_steps)
        progress = min(1.0, max(0.0, (step - self.warmup_steps) / span))
        decay = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))
        return _warmup(step, self.warmup_steps) * decay


def _warmup(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / max(1, warmup_steps))


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """How one role is optimised.

    Raises:
        ValueError: a pattern of ``lr_factors`` matches no parameter, or nothing is left to train.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    """Largest 2-norm of the role's gradient."""
    schedule: Schedule = field(default_factory=Constant)
    lr_factors: dict[str, float] = field(default_factory=dict)
    """Factors on ``lr`` by parameter name pattern, for instance ``{"*audio*": 0.5}``; the first match counts."""

    def build(self, network: nn.Module) -> torch.optim.AdamW:
        """Optimiser over the parameters of ``network`` that require gradients."""
        # by kind, not by the value of the decay: a run that goes on with another one must have the same groups
        groups: dict[tuple[float, bool, bool], list[Tensor]] = {}
        unused = set(self.lr_factors)
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue
            pattern = next((p for p in self.lr_factors if fnmatchcase(name, p)), None)
            unused.discard(pattern or "")
            factor = 1.0 if pattern is None else self.lr_factors[pattern]
            groups.setdefault((factor, parameter.ndim >= 2, is_sharded(parameter)), []).append(parameter)
        if unused:
            raise ValueError(f"lr_factors {sorted(unused)} match no parameter; correct the pattern or remove it")
        if not groups:
            raise ValueError("a trained role has no parameter that requires a gradient; freeze fewer or do not list it")
        return torch.optim.AdamW(
            [
                {
                    "params": params,
                    "weight_decay": self.weight_decay if matrices else 0.0,
                    "lr": self.lr * factor,
                    "base_lr": self.lr * factor,
                }
                for (factor, matrices, _), params in groups.items()
            ],
            betas=(self.betas[0], self.betas[1]),
            eps=self.eps,
            fused=True,
        )

    def set_lr(self, optimizer: torch.optim.Optimizer, step: int, total_steps: int) -> float:
        """Set every group's learning rate for ``step`` and return that of the first group."""
        factor = self.schedule.factor(step, total_steps)
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        return optimizer.param_groups[0]["lr"]


def restore_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load what ``optimizer.state_dict`` returned, but for hyper-parameters, which stay those that ``optimizer`` was
    built with: a run that goes on with another learning rate or weight decay gets it. Moments are copied.

    Only ``lr`` is that of the latest update, as in a run that never stopped; ``set_lr`` comes before the next one.

    Raises:
        ValueError: the parameters were grouped in another way, as by other ``lr_factors``.
    """
    settings = [
        {name: value for name, value in group.items() if name not in ("params", "lr")}
        for group in optimizer.param_groups
    ]
    sizes, saved = (
        [len(group["params"]) for group in groups] for groups in (optimizer.param_groups, state["param_groups"])
    )
    if sizes != saved:
        raise ValueError(
            f"the checkpoint's optimiser has parameters in groups of {saved}, this run's in groups of {sizes}: keep "
            "lr_factors and spared as they were, or start anew with another out="
        )
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
    for moments in optimizer.state.values():
        for name, value in moments.items():
            if isinstance(value, Tensor) and value.device.type == "cpu":  # torch takes these over without a copy
                moments[name] = value.clone()
