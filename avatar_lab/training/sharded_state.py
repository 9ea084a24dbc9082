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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from avatar_lab.training import distributed
from avatar_lab.training.checkpointing import CheckpointStore, flushed, write_atomically

SHARDED_FORMAT = "avatar_lab.sharded_state/1"


class ShardedStore(CheckpointStore):
    """As :class:`CheckpointStore`; every rank must call every method."""

    format = SHARDED_FORMAT

    def save_parts(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor], *, step: int) -> Path:
        """Write plain values of rank 0 and ``tensors`` by unique name, each rank its part of them.

        Raises:
            RuntimeError: some rank could not write; the checkpoint before stays the latest.
        """
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

    def _together(self, act: Any, what: str, *, only_first: bool = False) -> None:
        """``act`` on all ranks, or on the first, and agree on how it went."""
        failure: BaseException | None = None
        if not only_first or distributed.rank() == 0:
            try:
                act()
            except (Exception, CheckpointException) as error:  # whatever it is, the others must not wait for this rank
                failure = error
        if distributed.any_rank(failure is not None, self.device):
            if distributed.rank() == 0:
                self.clear_unfinished()
            raise RuntimeError(
                f"a rank could not {what} ({failure or 'it says why itself'}): nothing was published, look at free "
                f"space and permissions of {self.folder}"
            ) from failure


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
