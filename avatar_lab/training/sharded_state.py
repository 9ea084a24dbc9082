"""Checkpoints of sharded weights: every rank writes its part, and they load on any number of ranks.

``checkpoints/step_N/`` holds ``state.pt`` (plain values), the files of torch's distributed checkpoint (tensors) and
``manifest.json`` over all of them; it appears by a rename, after all ranks have said that their part is written. Each
has measured the files that it wrote by then: one that read those of all ranks would take longer than Slurm's warning
before the time limit leaves. All ranks must see the same folder. The ``.metadata`` among the files is a pickle: it is
read only below the run's own folder and after its sha256 was found in the manifest there, never from a checkpoint that
somebody sent.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from avatar_lab.training import distributed
from avatar_lab.training.checkpointing import CheckpointStore, flushed, no_room, write_atomically

log = logging.getLogger(__name__)

SHARDED_FORMAT = "avatar_lab.sharded_state/1"


class NotWritten(RuntimeError):
    """Some rank could not do its part of a save; every rank raises it."""

    def __init__(self, message: str, *, full: bool) -> None:
        super().__init__(message)
        self.full = full
        """For want of room, on some rank."""


class ShardedStore(CheckpointStore):
    """As :class:`CheckpointStore`; every rank must call every method."""

    format = SHARDED_FORMAT

    def save_parts(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor], *, step: int) -> Path:
        """Write plain values of rank 0 and ``tensors`` by unique name, each rank its part of them.

        Raises:
            NotWritten: some rank could not write, not even after all but the newest were deleted, if room is what it
                lacked; the checkpoint before stays the latest.
        """
        try:
            return self._save_parts(state, tensors, step=step)
        except NotWritten as error:
            if not error.full or not self._room_made():
                raise
            log.warning("the checkpoint of step %d found no room (%s): older ones are deleted", step, error)
        return self._save_parts(state, tensors, step=step)

    def _room_made(self) -> bool:
        """Whether the first rank could delete older checkpoints. It hashes the newest whole one for that."""
        made = False
        if distributed.rank() == 0:
            with suppress(OSError):  # the others must not wait for this rank
                made = self._make_room()
        return distributed.any_rank(made, self.device)

    def _save_parts(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor], *, step: int) -> Path:
        temporary = self.unfinished(step)
        self._together(lambda: self.begin(step), "make its folder", only_first=True)
        writer = dcp.FileSystemWriter(temporary, sync_files=True)
        self._together(lambda: dcp.save(dict(tensors), storage_writer=writer), "write its part")
        self._together(lambda: self._measure_part(temporary), "measure its part")
        self._together(lambda: self._publish_parts(temporary, state, step=step), "publish it", only_first=True)
        return self.folder / f"step_{step:08d}"

    def _measure_part(self, temporary: Path) -> None:
        """Flush the files of this rank, and leave what a manifest says of them in a file for the first: a collective of
        NCCL would want memory of the GPU for it."""
        number = distributed.rank()
        files = {path.name: flushed(path) for path in temporary.glob(f"__{number}_*")}  # as torch calls them
        write_atomically(_measured_by(number, temporary), json.dumps(files))

    def _publish_parts(self, temporary: Path, state: Mapping[str, Any], *, step: int) -> None:
        """Publish what all ranks have written and measured."""
        measured: dict[str, Any] = {}
        for number in range(distributed.world_size()):
            path = _measured_by(number, temporary)
            measured |= json.loads(path.read_text())
            path.unlink()
        self.publish(temporary, state, step=step, measured=measured)

    def newest(self) -> tuple[dict[str, Any], Path] | None:
        """Plain values and folder of the checkpoint to resume from.

        Raises:
            ValueError: as :meth:`resume_from` and :meth:`read`.
        """
        folder = self.resume_from()
        return None if folder is None else (self.read(folder), folder)

    def _together(self, act: Callable[[], object], what: str, *, only_first: bool = False) -> None:
        """``act`` on all ranks, or on the first, and agree on how it went."""
        failure: BaseException | None = None
        if not only_first or distributed.rank() == 0:
            try:
                act()
            except (Exception, CheckpointException) as error:  # whatever it is, the others must not wait for this rank
                failure = error
        if distributed.any_rank(failure is not None, self.device):
            causes = _causes(failure)
            full = distributed.any_rank(any(map(no_room, causes)), self.device)
            if distributed.rank() == 0:
                with suppress(OSError):  # it goes with the next save
                    self.clear_unfinished()
            why = "; ".join(map(str, causes)) or "it says why itself"
            raise NotWritten(
                f"a rank could not {what} ({why}): nothing was published, look at free space and permissions of "
                f"{self.folder}; the same command goes on from step {self.latest_step()}",
                full=full,
            ) from failure


def _causes(failure: BaseException | None) -> list[BaseException]:
    """``failure``, or what torch found on each rank."""
    if isinstance(failure, CheckpointException):
        return [cause for cause, _ in failure.failures.values()]
    return [] if failure is None else [failure]


def _measured_by(number: int, temporary: Path) -> Path:
    """Where a rank says what it measured, until the manifest does."""
    return temporary / f"measured_{number}.json"


def load_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite ``tensors``, sharded in any way or whole, by those of the same names in ``folder``, whose manifest was
    checked before.

    Raises:
        ValueError: a name is missing there, or its shape differs.
    """
    reader = dcp.FileSystemReader(folder)
    stored = reader.read_metadata().state_dict_metadata
    for name, tensor in tensors.items():
        size = getattr(stored.get(name), "size", None)
        if size != tensor.shape:
            raise ValueError(
                f"{folder} holds {name} of shape {size}, not {tuple(tensor.shape)}: resume the same config"
            )
    together = dist.is_available() and dist.is_initialized()
    dcp.load(dict(tensors), storage_reader=reader, no_dist=not together)
