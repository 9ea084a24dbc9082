"""Child processes that end with their parent, even where a decoder hangs or the parent was killed."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends (Linux; elsewhere a closed pipe must do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it ended while this process was starting
        os._exit(1)


def leave_interrupts_to_parent() -> None:
    """Ctrl-C reaches the parent only, which lets work in progress finish."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
