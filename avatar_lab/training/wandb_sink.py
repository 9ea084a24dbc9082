"""Rows of the log in Weights & Biases, offline unless told otherwise.

An offline run cannot be resumed there, so a resumed training opens a new run in the same group. Machine metadata and
code are not collected: command lines and environments hold secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal


class WandbSink:
    """Sink for ``training.sinks``."""

    def __init__(self, *, project: str = "avatar_lab", mode: Literal["online", "offline"] = "offline") -> None:
        self.project = project
        self.mode: Literal["online", "offline"] = mode
        self._run: Any = None

    def start(self, *, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb  # takes a second to import and is off by default

        self._run = wandb.init(
            project=self.project,
            group=folder.name,
            dir=folder,
            mode=self.mode,
            config=dict(config),
            settings=wandb.Settings(x_disable_meta=True, save_code=False, silent=True),
        )

    def write(self, row: Mapping[str, float]) -> None:
        self._run.log(dict(row), step=int(row["step"]))

    def finish(self) -> None:
        self._run.finish()
