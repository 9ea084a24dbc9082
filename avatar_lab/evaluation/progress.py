"""Progress over agents: a live bar on a terminal, elsewhere a plain line per agent and quarter."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

log = logging.getLogger(__name__)

LINES_PER_AGENT = 4


class ShowAgents:
    """Use as a context; give ``update`` to the runner."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}
        self._shown: dict[str, int] = {}

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            columns = (TextColumn("{task.description:>18}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, TimeElapsedColumn(), Remaining())
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, agent: str, done: int, total: int) -> None:
        """``done`` of ``total`` conversations of ``agent`` are measured."""
        if self._bar is not None:
            if agent not in self._tasks:
                self._tasks[agent] = self._bar.add_task(agent, total=total)
            self._bar.update(self._tasks[agent], completed=done)
            return
        self._begun.setdefault(agent, time.perf_counter())
        quarter = done * LINES_PER_AGENT // total
        if quarter > self._shown.get(agent, 0):
            self._shown[agent] = quarter
            elapsed = time.perf_counter() - self._begun[agent]
            left = elapsed / done * (total - done)
            log.info("%s %d/%d conversations  %.0f s, %.0f s left", agent, done, total, elapsed, left)
