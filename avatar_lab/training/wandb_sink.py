"""Rows of the log in Weights & Biases, offline unless told otherwise.

An offline run cannot be resumed there, so a resumed training opens a new run in the same group. Machine metadata and
code are not collected: command lines and environments hold secrets. Whatever goes wrong there, training goes on:
``metrics.jsonl`` is complete without it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

log = logging.getLogger(__name__)

FINISH_SECONDS = 20.0
"""What is not sent by then stays on disk, for ``wandb sync``."""


class WandbSink:
    """Sink for ``training.sinks``."""

    def __init__(self, *, project: str = "avatar_lab", mode: Literal["online", "offline"] = "offline") -> None:
        self.project = project
        self.mode: Literal["online", "offline"] = mode
        self._run: Any = None

    def start(self, *, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb  # takes a second to import and is off by default

        # a job that was warned of its end has seconds left, and the default waits until all is sent
        settings = wandb.Settings(
            x_disable_meta=True, save_code=False, silent=True, init_timeout=60, finish_timeout=FINISH_SECONDS
        )
        with self._going_on():
            self._run = wandb.init(
                project=self.project, group=folder.name, dir=folder, mode=self.mode, config=dict(config),
                settings=settings,
            )  # fmt: skip

    def write(self, row: Mapping[str, float]) -> None:
        with self._going_on():
            if self._run is not None:
                self._run.log(dict(row), step=int(row["step"]))

    def finish(self) -> None:
        with self._going_on():
            if self._run is not None:
                self._run.finish()

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # no key, no network, a service that is down: none of them is worth a run
            self._run = None
            log.warning("wandb gets no more rows of this start (%s); metrics.jsonl goes on", error)
