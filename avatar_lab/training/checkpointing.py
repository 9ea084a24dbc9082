"""Training checkpoints on disk: complete, never half-written, and loadable without running anybody's code.

``checkpoints/step_N/`` holds ``state.pt`` and ``manifest.json`` (size and sha256). A folder is written under a
temporary name, flushed, and renamed; ``latest`` is replaced the same way afterwards. A crash at any point leaves the
previous one in place; so does a full disk, on which all but the newest make room before a save is given up. What a
killed save has left goes with the next one: a run folder belongs to one process at a time. A run that goes on from
behind a damaged checkpoint renames that one to ``damaged_step_N_TIME``, where it counts for nothing.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from avatar_lab.training import distributed

log = logging.getLogger(__name__)

FORMAT = "avatar_lab.training_state/2"
"""Raise when old weights would mean something else in new code, as with the checkpoints' own ``FORMAT``."""


_UNFINISHED = ".step_"


class CheckpointStore:
    """The ``keep`` newest checkpoints of one run."""

    format = FORMAT

    device = torch.device("cpu")
    """Where ranks vote."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        if keep < 1:
            raise ValueError(f"keep at least one checkpoint, got {keep}")
        self.folder = folder
        self.keep = keep

    def save(self, state: Mapping[str, Any], *, step: int) -> Path:
        """Write ``state``, make it the latest, and delete what is older than the newest ``keep``.

        Raises:
            OSError: it cannot be written, not even after all but the newest were deleted.
        """
        for attempt in (1, 2):
            try:
                return self.publish(self.begin(step), state, step=step)
            except (OSError, RuntimeError) as error:
                self.clear_unfinished()
                if not no_room(error):
                    raise
                if attempt == 1 and self._make_room():
                    log.warning("the checkpoint of step %d found no room (%s): older ones are deleted", step, error)
                    continue
                raise self._not_saved(step, error) from error
        raise AssertionError("unreachable")

    def unfinished(self, step: int) -> Path:
        """Where a checkpoint lies until it is whole."""
        return self.folder / f"{_UNFINISHED}{step:08d}"

    def begin(self, step: int) -> Path:
        """The empty folder of an unfinished checkpoint."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clear_unfinished()
        self.unfinished(step).mkdir()
        return self.unfinished(step)

    def publish(
        self, temporary: Path, state: Mapping[str, Any], *, step: int, measured: Mapping[str, Any] | None = None
    ) -> Path:
        """Add ``state`` to what ``temporary`` holds already, and give it its name. Files that are not among those
        ``measured``, by other ranks with :func:`flushed`, are measured here.

        Raises:
            OSError: something cannot be written, or a measured file is not here.
        """
        with (temporary / "state.pt").open("wb") as file:
            torch.save(dict(state), file)
        files = dict(measured or {})
        for name, entry in files.items():
            if (temporary / name).stat().st_size != entry["bytes"]:
                raise OSError(f"{temporary / name} is not as long as where it was written ({entry['bytes']} bytes)")
        files |= {path.name: flushed(path) for path in temporary.iterdir() if path.name not in files}
        manifest = {"format": self.format, "step": step, "stage": state["stage"], "files": dict(sorted(files.items()))}
        write_atomically(temporary / "manifest.json", json.dumps(manifest, indent=1))
        final = self.folder / f"step_{step:08d}"
        if final.exists():
            self._delete(final)
        temporary.rename(final)
        _flush_folder(self.folder)
        write_atomically(self.folder / "latest", final.name)
        for old in self.complete()[: -self.keep]:
            self._delete(old)
        return final

    def clear_unfinished(self) -> None:
        """Delete what a save or a deletion has left that did not come to its end."""
        for left in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left)

    def _delete(self, checkpoint: Path) -> None:
        """By way of a name that counts for nothing, so that a kill leaves no half of one."""
        gone = checkpoint.with_name(f"{_UNFINISHED}{checkpoint.name}")
        checkpoint.rename(gone)
        shutil.rmtree(gone)

    def _make_room(self) -> bool:
        """Delete all checkpoints but the newest whole one; whether there was any."""
        whole = next((path for path in reversed(self.complete()) if _intact(path)), None)
        spare = [path for path in self.complete() if path != whole]
        for path in spare:
            self._delete(path)
        return bool(spare)

    def _not_saved(self, step: int, error: Exception) -> OSError:
        free = shutil.disk_usage(self.folder).free / 2**30
        return OSError(
            f"the checkpoint of step {step} cannot be written to {self.folder} ({error}; {free:.2f} GiB are free, "
            f"quotas aside): make room, then start the same command again; it goes on from step {self.latest_step()}"
        )

    def complete(self) -> list[Path]:
        """Checkpoint folders, oldest first. Temporary names start with a dot and never count."""
        return sorted(path for path in self.folder.glob("step_*") if (path / "manifest.json").exists())

    def latest_step(self) -> int:
        """Step of the newest complete checkpoint, 0 where there is none."""
        folders = self.complete()
        return _step_of(folders[-1]) if folders else 0

    def newest_format(self) -> str | None:
        """What the newest checkpoint says of itself that says anything; a damaged one may not."""
        formats = (_manifest(path).get("format") for path in reversed(self.complete()))
        return next((each for each in formats if each is not None), None)

    def load_latest(self) -> dict[str, Any] | None:
        """State of the newest intact checkpoint, or None where there is none.

        Raises:
            ValueError: there are checkpoints, but all are damaged, or it was written by another version.
        """
        folder = self.newest_intact()
        return None if folder is None else self.read(folder)

    def resume_from(self) -> Path | None:
        """Folder of the newest intact checkpoint, as the first rank finds it, or None where there is none. Newer ones,
        which are damaged, are put aside: they would count as newest while the run saves earlier steps. Every rank must
        call.

        Raises:
            ValueError: as :meth:`load_latest`, or a rank does not see that folder.
            OSError: the first rank cannot read or rename one.
        """
        step = torch.tensor(-1, device=self.device)
        failure: Exception | None = None
        if distributed.rank() == 0:
            try:
                found = self.newest_intact()
                if found is not None:
                    self._put_newer_aside(found)
                    step.fill_(_step_of(found))
            except (OSError, ValueError) as error:  # the others must not wait for this rank
                failure = error
        if distributed.any_rank(failure is not None, self.device):
            raise failure or ValueError("rank 0 refused the checkpoints of this run; its own message says why")
        distributed.copy_from_first([step])
        if int(step) < 0:
            return None
        folder = self.folder / f"step_{int(step):08d}"
        unseen = not (folder / "manifest.json").exists()
        if distributed.any_rank(unseen, self.device):
            raise ValueError(
                f"rank 0 resumes from {folder}, which {'this rank' if unseen else 'another rank'} does not see: out= "
                "must be on a file system that all ranks share"
            )
        return folder

    def _put_newer_aside(self, intact: Path) -> None:
        """Rename the checkpoints after the newest intact one."""
        newer = [path for path in self.complete() if path > intact]
        for path in newer:
            aside = path.with_name(f"damaged_{path.name}_{datetime.now(UTC):%Y%m%dT%H%M%S}")
            path.rename(aside)
            log.warning("%s is damaged and now called %s: look at the disk, then delete it", path, aside.name)
        if newer:
            write_atomically(self.folder / "latest", intact.name)

    def newest_intact(self) -> Path | None:
        """Folder of the newest checkpoint whose files are what its manifest says. Nothing is renamed.

        Raises:
            ValueError: as :meth:`load_latest`.
        """
        folders = self.complete()
        for folder in reversed(folders):
            if _intact(folder):
                found = _manifest(folder).get("format", "an older format")
                if found != self.format:
                    raise ValueError(
                        f"{folder} is of {found}, this code reads {self.format}: use another out= to start anew, or "
                        "the cluster.machine.strategy that it was written with"
                    )
                log.info("resuming from %s", folder)
                return folder
            log.warning("%s is damaged (its files are not what its manifest says); trying the one before", folder)
        if folders:
            raise ValueError(
                f"all {len(folders)} checkpoints under {self.folder} are damaged; move that folder away to start anew"
            )
        return None

    def read(self, folder: Path) -> dict[str, Any]:
        """``state.pt`` of an intact checkpoint. Tensors lie in the file until they are copied, so that the ranks of a
        machine share one copy.

        Raises:
            ValueError: it holds more than tensors and plain values.
        """
        try:
            state: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True, map_location="cpu", mmap=True)
        except UnpicklingError as error:
            raise ValueError(
                f"{folder / 'state.pt'} holds more than tensors and plain values and is refused "
                f"(weights_only; nothing of it was run): {str(error).splitlines()[-1]}"
            ) from error
        gc.collect()  # closures of torch.load hold the file in cycles, and its room on the disk after it was pruned
        return state


def no_room(error: BaseException) -> bool:
    """Whether a disk, a quota or a limit is full; torch's writer calls that an unexpected position."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return "unexpected pos" in str(error) or "PytorchStreamWriter" in str(error)


def write_atomically(path: Path, text: str) -> None:
    """Replace ``path`` as a whole: readers see the old text or the new one, never a part. One process at a time: what
    a killed one has left is overwritten."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flushed(path: Path) -> dict[str, Any]:
    """What a manifest says of a file that is on disk when this returns."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _measure(path)


def _measure(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


def _manifest(folder: Path) -> dict[str, Any]:
    """Empty where it is damaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except ValueError:  # not JSON, or not even text
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _intact(folder: Path) -> bool:
    files = _manifest(folder).get("files")
    if not isinstance(files, dict) or not files:
        return False
    return all((folder / name).is_file() and _measure(folder / name) == entry for name, entry in files.items())
