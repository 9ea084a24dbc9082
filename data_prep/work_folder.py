"""Who may use a work folder at the same time: array tasks side by side; whoever writes shards or cleans up, alone."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LOCK_NAME = "lock"


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Hold the folder for this process only.

    Raises:
        ValueError: another process uses it.
    """
    with _lock_file(work) as file:
        if not _taken(file, fcntl.LOCK_EX):
            if _taken(file, fcntl.LOCK_SH):
                raise ValueError(f"array tasks are still using {work}: run this again when they have ended")
            raise ValueError(_BUSY.format(work=work))
        yield


@contextmanager
def beside_others(work: Path) -> Iterator[None]:
    """Use the folder together with other array tasks.

    Raises:
        ValueError: a process holds it alone.
    """
    with _lock_file(work) as file:
        if not _taken(file, fcntl.LOCK_SH):
            raise ValueError(_BUSY.format(work=work))
        yield


_BUSY = "another preparation is using {work}: wait for it, or choose another folder"


def _lock_file(work: Path) -> IO[str]:
    """Open for reading and writing, which network file systems ask for before they lock."""
    work.mkdir(parents=True, exist_ok=True)
    return (work / LOCK_NAME).open("a+")


def _taken(file: IO[str], mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
