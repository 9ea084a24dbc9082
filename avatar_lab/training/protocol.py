"""What the training loop asks of data, of sample media and of log sinks; anything with these methods will do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol


class BatchSource(Protocol):
    """Endless batches whose order is a pure function of the step, so that the data cursor is the step itself."""

    def loader(self, start_step: int, num_workers: int) -> Iterator[Any]:
        """Batches of steps ``start_step``, ``start_step + 1``, ... without end; the same ones for any worker count."""
        ...


class SampleWriter(Protocol):
    """Writes media that show what the networks do now, for instance an mp4 with user and avatar side by side."""

    def write(self, *, artefacts: Mapping[str, Any], folder: Path) -> None:
        """Generate from what the stage would export now and write files into ``folder``."""
        ...


class StepJudge(Protocol):
    """Measures what the stage would export, to say in the end which step was the best."""

    every_steps: int

    def knows(self, step: int) -> bool:
        """Whether that step was judged already."""
        ...

    def judge(self, *, step: int, artefacts: Mapping[str, Any]) -> None: ...

    def forget_after(self, step: int) -> None:
        """Steps beyond ``step``, from which a run goes on, are of a past that did not happen."""
        ...


class MetricSink(Protocol):
    """Receives every row that is written to ``metrics.jsonl``, the source of truth."""

    def start(self, *, folder: Path, config: Mapping[str, Any]) -> None: ...

    def write(self, row: Mapping[str, float]) -> None: ...

    def finish(self) -> None: ...
