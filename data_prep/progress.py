"""How far a preparation is: by media time rather than by files, with the time left and the reasons of drops so far."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from data_prep.pipeline import Prepared

log = logging.getLogger(__name__)

LINE_SECONDS = 300.0
"""Off a terminal a line is written at least this often, and at every tenth of the work."""


@dataclass(kw_only=True)
class Tally:
    """Outcomes so far.

    weights  what each recording counts, by interaction (``headers.weights_of``)
    clock    seconds
    """

    weights: Mapping[str, float]
    clock: Callable[[], float] = time.monotonic
    count: int = 0
    stored: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    done: float = 0.0
    computed: float = 0.0

    def __post_init__(self) -> None:
        self.total = sum(self.weights.values())
        self._since = self.clock()

    def add(self, outcome: Prepared) -> None:
        """Count one outcome. What was already stored tells nothing about speed, so the clock starts after it."""
        self.count += 1
        self.done += self.weights[outcome.interaction]
        if outcome.skip is not None:
            self.skipped[str(outcome.skip)] += 1
        if outcome.computed:
            self.computed += self.weights[outcome.interaction]
        else:
            self.stored += 1
            if not self.computed:
                self._since = self.clock()

    @property
    def share(self) -> float:
        """Part of the work that is done."""
        return self.done / self.total if self.total else self.count / max(1, len(self.weights))

    def seconds_left(self) -> float | None:
        """At the speed so far; ``None`` while nothing was computed."""
        if not self.computed:
            return None
        return (self.clock() - self._since) * (self.total - self.done) / self.computed

    def line(self) -> str:
        """One line for people."""
        left = self.seconds_left()
        parts = [f"prepared {self.count} of {len(self.weights)} recordings ({self.share:.0%} of the media)"]
        if self.stored:
            parts.append(f"{self.stored} were stored")
        if left is not None and self.count < len(self.weights):
            parts.append(f"{duration(left)} left")
        if self.skipped:
            parts.append("skipped " + ", ".join(f"{count} {reason}" for reason, count in self.skipped.most_common()))
        return "; ".join(parts)


def followed(found: Iterator[Prepared], tally: Tally) -> Iterator[Prepared]:
    """Pass outcomes on; each skip is said as it comes, with a bar on a terminal and plain lines elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(BarColumn(), TextColumn("{task.description}"), console=console) as bar:
            task = bar.add_task(tally.line(), total=1.0)
            for outcome in _counted(found, tally):
                bar.update(task, completed=tally.share, description=tally.line())
                yield outcome
        return
    next_share, said = 0.1, tally.clock()
    for outcome in _counted(found, tally):
        last = tally.count == len(tally.weights)
        if last or tally.share >= next_share or tally.clock() - said >= LINE_SECONDS:
            log.info("%s", tally.line())
            next_share, said = (int(tally.share * 10) + 1) / 10, tally.clock()
        yield outcome


def _counted(found: Iterator[Prepared], tally: Tally) -> Iterator[Prepared]:
    for outcome in found:
        tally.add(outcome)
        if outcome.skip is not None:
            log.warning("skipped %s: %s: %s", outcome.interaction, outcome.skip, outcome.detail)
        yield outcome


def duration(seconds: float) -> str:
    """``2 d 3 h``, ``3 h 10 min``, ``4 min 5 s`` or ``6 s``."""
    whole = round(seconds)
    for size, name, part_size, part in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part_size} {part}"
    return f"{whole} s"
