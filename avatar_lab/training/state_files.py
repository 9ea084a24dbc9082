"""The state of a run between two processes: one file, or parts where ranks share weights out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from avatar_lab.training import distributed
from avatar_lab.training.checkpointing import CheckpointStore
from avatar_lab.training.module import StageModule
from avatar_lab.training.sharded_module import load_sharded, save_sharded
from avatar_lab.training.sharded_state import ShardedStore

log = logging.getLogger(__name__)


class StateFiles(Protocol):
    """Every rank must call; what is to be done on one of them is."""

    @property
    def store(self) -> CheckpointStore:
        """Where they lie."""

    def save(self, module: StageModule) -> None:
        """Make the present step the newest checkpoint."""

    def restore(self, module: StageModule) -> bool:
        """Load the newest checkpoint, if there is one."""


class WholeState:
    """Implements :class:`StateFiles` for ranks that hold the same."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.store = CheckpointStore(folder, keep=keep)

    def save(self, module: StageModule) -> None:
        if distributed.rank() == 0:
            folder = self.store.save(module.training_state(), step=module.train_step)
            log.info("saved %s", folder)

    def restore(self, module: StageModule) -> bool:
        self.store.device = module.device
        folder = self.store.resume_from()
        if folder is not None:
            module.load_training_state(self.store.read(folder))
        return folder is not None


class StateInParts:
    """Implements :class:`StateFiles` for ranks that hold a part each."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.store = ShardedStore(folder, keep=keep)

    def save(self, module: StageModule) -> None:
        self.store.device = module.device
        save_sharded(self.store, module)

    def restore(self, module: StageModule) -> bool:
        self.store.device = module.device
        return load_sharded(self.store, module)
