"""A rank that hangs says where, and ends, so that its job does not hold devices that do nothing.

The timer is a thread of the interpreter's own that needs no lock of it: it also fires while a collective waits for a
rank that is gone.
"""

from __future__ import annotations

import faulthandler
from pathlib import Path
from typing import Any, TextIO

from lightning.pytorch import Callback, LightningModule, Trainer

from avatar_lab.training import distributed


class StallWatch(Callback):
    """Ends the process (exit code 1) when no step ends for ``seconds``, with the stacks of all threads in
    ``stalled/rank<N>.txt``, behind those of earlier starts. What happens between two steps, such as a judgement,
    counts."""

    def __init__(self, folder: Path, *, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.file: TextIO | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = (self.folder / f"rank{distributed.rank()}.txt").open("a")
        self._wind_up()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._wind_up()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _wind_up(self) -> None:
        assert self.file is not None
        faulthandler.dump_traceback_later(self.seconds, exit=True, file=self.file)

    def _stop(self) -> None:
        if self.file is None:  # training had not begun
            return
        faulthandler.cancel_dump_traceback_later()
        self.file.close()
        path = Path(self.file.name)
        if path.exists() and not path.stat().st_size:
            path.unlink()
