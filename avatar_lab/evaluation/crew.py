"""Processes that share one studio; what they are asked to do are functions of it.

Tasks must not depend on each other or on their order, so that any number of processes gives the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

import torch

from avatar_lab.allocator import keep_freed_memory
from avatar_lab.evaluation.studio import Studio
from avatar_lab.lifetime import die_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")

_studio: Studio | None = None


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Whoever does the work: this process, or others."""

    studio: Studio
    executor: Executor | None

    def each(self, work: Callable[[Studio, Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[Task, Result]]:
        """Tasks with their results, as they are done. ``work`` is a function of a module: it travels by name.

        Raises:
            Exception: what the first task that failed raised; tasks that were not begun are given up.
        """
        if self.executor is None:
            for task in tasks:
                yield task, work(self.studio, task)
            return
        futures = {self.executor.submit(_do, work, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()


@contextmanager
def crew(studio: Studio, workers: int) -> Iterator[Crew]:
    """A crew of ``workers`` processes with one thread each; up to one worker is this process."""
    if workers <= 1:
        yield Crew(studio=studio, executor=None)
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start, initargs=(studio,)
    ) as executor:
        yield Crew(studio=studio, executor=executor)


def _start(studio: Studio) -> None:
    global _studio
    die_with_parent()
    keep_freed_memory()
    torch.set_num_threads(1)
    _studio = studio


def _do(work: Callable[[Studio, Any], Any], task: Any) -> Any:
    assert _studio is not None
    return work(_studio, task)
