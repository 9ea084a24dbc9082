"""One job at a time per run folder, which all of its ranks begin or none; and no endless restarts of a job that gets
nowhere."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from torch.distributed import TCPStore

from avatar_lab.training import distributed

log = logging.getLogger(__name__)

JOB_VARIABLES = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID")

OTHER_LAUNCHERS = ("RANK", "LOCAL_RANK", "TORCHELASTIC_RUN_ID")
"""Set by torchrun, and by Lightning for the ranks that it starts itself, inside an allocation too."""
INTERACTIVE = ("bash", "interactive")
"""Names of Slurm jobs in which Lightning starts its ranks itself."""
MEETING = timedelta(minutes=20)
"""All ranks of a Slurm step must have built their networks within so long of each other."""
DYING_SECONDS = 300.0
"""A requeued job waits so long for the lock of its start before: a node that nobody reaches any more keeps it until a
file server ends its lease."""

_BEGIN = "avatar_lab/begin"


@contextmanager
def owned(out: Path, claim: Callable[[], None]) -> Iterator[None]:
    """The run folder ``out``, locked and made this run's by ``claim`` on rank 0, on every rank of the run.

    The ranks of a Slurm step meet first, and those that hear nothing from rank 0 leave with it: else they would wait
    for it as long as collectives may take, and ``srun`` lets them. Other launchers end all of them.

    Raises:
        ValueError: rank 0 cannot have the folder (:func:`locked`), ``claim`` refuses, or rank 0 has left.
        RuntimeError: a rank has not come.
    """
    meeting = _meet()
    with ExitStack() as held:
        if distributed.rank() == 0:
            held.enter_context(locked(out))
            claim()
            if meeting is not None:
                meeting.set(_BEGIN, "")
        elif meeting is not None:
            try:
                meeting.wait([_BEGIN])
            except RuntimeError:  # the connection is gone with rank 0
                raise ValueError("the first rank did not begin; it says why") from None
        yield


def _meet() -> TCPStore | None:
    """Where the ranks of a Slurm step have met; None for a process that was started otherwise. Rank 0 serves it, at the
    place where Lightning will meet them: one server for both, as long as this one lives."""
    places = ("SLURM_PROCID", "SLURM_NTASKS", "MASTER_ADDR", "MASTER_PORT")
    launched = any(name in os.environ for name in OTHER_LAUNCHERS)
    if launched or os.environ.get("SLURM_JOB_NAME") in INTERACTIVE or any(name not in os.environ for name in places):
        return None
    size, host, port = int(os.environ["SLURM_NTASKS"]), os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if size == 1:
        return None
    first = distributed.rank() == 0
    store = TCPStore(host, port, is_master=first, timeout=MEETING, wait_for_workers=False, multi_tenant=True)
    if first:
        store.wait([f"{_BEGIN}/{rank}" for rank in range(1, size)])
    else:
        store.set(f"{_BEGIN}/{distributed.rank()}", "")
    return store


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Own the run folder ``out`` as long as this process lives, however it ends: the kernel lets go of the lock. A job
    that was requeued waits ``DYING_SECONDS`` for it.

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
            _lock(file, patience=DYING_SECONDS if requeued() else 0.0)
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


def _lock(file: TextIO, *, patience: float) -> None:
    """Lock ``file``, however often that takes within ``patience`` seconds.

    Raises:
        OSError: another process has it still, or there are no locks here.
    """
    end = time.monotonic() + patience
    said = False
    while True:
        try:
            # of this process alone: loader workers, which are forked and may outlive a kill, do not inherit it
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= end:
                raise
        if not said:
            log.info("%s is still held, perhaps by the start before this one: waiting %g s for it", file.name, patience)
            said = True
        time.sleep(min(2.0, patience))


def requeued() -> bool:
    """Whether this Slurm job was started before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0


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
