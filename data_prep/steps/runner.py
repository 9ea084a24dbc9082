"""Runs the steps of one recording after another: each only if its result is not stored yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_prep.blob import Blob
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.meter import Meter
from data_prep.selection import Enough
from data_prep.steps.digests import FileDigests
from data_prep.steps.store import StepResult, StepStore, step_key


class NotStored(Exception):
    """Something would have to be computed."""


class StepRunner:
    """Steps of one recording at a time; ``keys`` holds those of the recording that runs, by step.

    Args:
        work: where results are stored.
        wanted: names of the steps to run; ``None`` for all.
        meter: takes down what they cost.
    """

    def __init__(self, work: Path, *, wanted: frozenset[str] | None, meter: Meter) -> None:
        self._store = StepStore(work)
        self._wanted, self._meter = wanted, meter
        self._digests = FileDigests(work)
        self._recalling = False
        self.keys: dict[str, str] = {}
        self.computed = False
        """False if every result of this recording was already there."""

    def begin(self, *, recalling: bool) -> None:
        """Start a recording; ``recalling``: anything that is not stored raises ``NotStored``."""
        self.keys, self.computed, self._recalling = {}, False, recalling

    def step(
        self,
        step: str,
        version: int,
        params: dict[str, object],
        inputs: dict[str, str],
        compute: Callable[[], StepResult],
    ) -> StepResult:
        """The stored result of a step, computed now if there is none.

        Raises:
            SkipRecording: the recording cannot be used; that is stored too.
            Enough: the step is not wanted.
        """
        if self._wanted is not None and step not in self._wanted:
            raise Enough
        key = self.keys[step] = step_key(step, version, params, inputs)
        stored = self._store.load(step, key)
        if stored is not None:
            return stored
        if self._recalling:
            raise NotStored
        self.computed = True
        try:
            result = self._meter.measure(step, compute)
        except SkipRecording as skip:
            self._store.save_skip(step, key, skip)
            raise
        self._store.save(step, key, result)
        return result

    def digest(self, blob: Blob) -> str:
        """sha256 of a file of the recording.

        Raises:
            SkipRecording: it cannot be read.
        """
        try:
            find = self._digests.known if self._recalling else self._digests.of
            digest = self._meter.measure("digests", lambda: find(blob))
        except OSError as error:
            raise SkipRecording(SkipReason.UNREADABLE, f"{blob.name}: {error}") from error
        if digest is None:
            raise NotStored
        return digest

    def close(self) -> None:
        """Close the database of digests."""
        self._digests.close()
