"""A two-role stage of a few weights: fast, with alternating turns, dropout, a frozen role and averaged roles."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from avatar_lab.objective.losses import Losses


class ToyStage:
    """A student matches a frozen teacher; a critic is updated every step, the student every second."""

    name = "toy"
    trained = ("student", "critic")
    followers = ()
    averaged = ("student",)
    card = None

    def __init__(self, *, width: int = 4, poisoned_steps: tuple[int, ...] = (), poison: float = float("nan")) -> None:
        rng = torch.random.fork_rng()
        with rng:
            torch.manual_seed(7)
            self.roles = nn.ModuleDict(
                {
                    "student": nn.Sequential(nn.Linear(width, width), nn.Dropout(0.2), nn.Linear(width, width)),
                    "critic": nn.Linear(width, width),
                    "teacher": nn.Linear(width, width),
                }
            )
        self.poisoned_steps, self.poison = poisoned_steps, poison

    def turns(self, batch: Any, step: int, rng: torch.Generator) -> Iterator[tuple[str, Losses]]:
        noise_BD = torch.randn(batch.shape, generator=rng)
        target_BD = self.roles["teacher"](batch)
        if step % 2 == 0:
            error_B = (self.roles["student"](batch + noise_BD) - target_BD).square().mean(1)
            yield "student", Losses(terms={"error": self._poison(error_B, step)}, weights={"error": 1.0})
        fake_BD = self.roles["student"](batch).detach()
        error_B = (self.roles["critic"](batch) - fake_BD).square().mean(1)
        yield "critic", Losses(terms={"error": error_B}, weights={"error": 0.5}, logs={"noise": noise_BD.mean()})

    def _poison(self, error_B: Tensor, step: int) -> Tensor:
        return error_B * self.poison if step in self.poisoned_steps else error_B

    def export(self, roles: nn.ModuleDict) -> dict[str, nn.Module]:
        return {"student": roles["student"]}


class ToyItems(Dataset):
    """Item ``i`` is a pure function of ``i``."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Tensor:
        return torch.randn(4, generator=torch.Generator().manual_seed(index))


class InterruptedBy:
    """A batch source during whose batch of ``step`` the process receives ``number``, as from a user or a scheduler."""

    def __init__(self, source: Any, step: int, number: signal.Signals) -> None:
        self.source, self.step, self.number = source, step, number

    def loader(self, start_step: int, num_workers: int) -> Iterator[Any]:
        for step, batch in enumerate(self.source.loader(start_step, num_workers), start=start_step):
            if step == self.step:
                os.kill(os.getpid(), self.number)
            yield batch
