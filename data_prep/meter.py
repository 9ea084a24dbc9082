"""What each step costs: time on the clock, and processor time of the worker and of its decoding processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import TypeVar

import torch

from avatar_lab.served_process import ServedProcess

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds; the parts may overlap, so that ``core + decode`` can exceed ``wall``."""

    wall: float = 0.0
    core: float = 0.0
    """Processor time of the worker, all threads."""
    decode: float = 0.0
    """Processor time of the processes that read and decode media."""
    accelerator: bool = False
    """The worker used a GPU; then ``wall`` bounds the time that the step held it."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            wall=self.wall + other.wall,
            core=self.core + other.core,
            decode=self.decode + other.decode,
            accelerator=self.accelerator or other.accelerator,
        )

    def to_plain(self) -> dict[str, float]:
        """As JSON holds it."""
        return asdict(self)


class Meter:
    """Costs by step since they were last collected; failed steps count too."""

    def __init__(self, served: Collection[ServedProcess]) -> None:
        self._served = served
        self._costs: dict[str, Cost] = {}

    def measure(self, step: str, work: Callable[[], Result]) -> Result:
        """What ``work`` returns, its cost added to that of ``step``."""
        began = time.perf_counter(), time.process_time(), self._decoding()
        try:
            return work()
        finally:
            cost = Cost(
                wall=time.perf_counter() - began[0],
                core=time.process_time() - began[1],
                decode=self._decoding() - began[2],
                accelerator=torch.cuda.is_initialized(),
            )
            self._costs[step] = self._costs.get(step, Cost()) + cost

    def collect(self) -> dict[str, Cost]:
        """Costs so far, which are then forgotten."""
        costs, self._costs = self._costs, {}
        return costs

    def _decoding(self) -> float:
        return sum(client.cpu_seconds for client in self._served)
