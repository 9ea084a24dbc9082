"""One process at a time per run folder, and no endless restarts of a job that gets nowhere."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

JOB_VARIABLES = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Own the run folder ``out`` as long as this process lives, however it ends: the kernel lets go of the lock.

    Raises:
        ValueError: another process has it, or it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / "lock").open("a+")
    except OSError as error:
        raise ValueError(f"{out} cannot be written ({error.strerror}): mend that, or choose another out=") from error
    with lock as file:
        try:
            # of this process alone: loader workers, which are forked and may outlive a kill, do not inherit it
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise ValueError(
                f"{out} is being written by another process ({file.read().strip() or 'it does not say which'}): wait "
                "for it, end it, or choose another out="
            ) from None
        except OSError as error:  # a file system without locks
            log.warning("%s cannot be locked (%s): see to it that no second job writes there", out, error)
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "job": job_id()}))
        file.flush()
        yield


def job_id() -> str | None:
    """The Slurm job that this process belongs to (``<array>_<task>`` in an array), if any."""
    array, task, job = (os.environ.get(name) for name in JOB_VARIABLES)
    return f"{array}_{task}" if array is not None and task is not None else job


def check_progress(starts: Sequence[Mapping[str, Any]], *, step: int, limit: int) -> None:
    """Refuse to start once more where the last ``limit`` starts of this same job all began at ``step`` too. A job that
    is requeued by hand or by the cluster keeps its id; a new submission counts anew.

    Raises:
        ValueError: it gets nowhere.
    """
    job = job_id()
    if job is None:
        return
    latest = [start for start in starts if start.get("job") == job][-limit:]
    if len(latest) == limit and all(start.get("step") == step for start in latest):
        raise ValueError(
            f"job {job} was started {limit} times at step {step} without getting any further "
            "(cluster.starts_without_progress): look at the end of its log for what stops it, then submit it again"
        )
