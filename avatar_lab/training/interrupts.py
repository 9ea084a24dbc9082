"""Ctrl-C, SIGTERM and Slurm's warning set a flag; the loop looks at it between steps, saves, and leaves.

Nothing is saved inside a handler: that would cut a step in two, and ranks would save different steps. A second Ctrl-C
leaves at once. Worker processes that are forked later inherit the handler, in which the flag has no effect, and so
survive a Ctrl-C for the seconds that the main process still needs them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

REQUEUE_EXIT_CODE = 99
"""Returned after Slurm's warning (SIGUSR1): saved, to be run again. The sbatch template requeues on it."""

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: REQUEUE_EXIT_CODE}


class Interrupts:
    """Context in which the signals of ``EXIT_CODES`` ask for a stop instead of ending the process."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.agreed: signal.Signals | None = None
        """What all ranks have agreed to stop for; what comes after the last step has nothing left to stop."""
        self._previous: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Interrupts:
        self._previous = {number: signal.getsignal(number) for number in EXIT_CODES}
        self.arm()
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def disarmed(self) -> Iterator[None]:
        """Signals end the process at once, as they do while it starts: for minutes in which no step ends. The exit
        codes then ask for a requeue too (138 and 143 in the sbatch template). So does one that nobody has looked at
        yet: it would be forgotten for as long."""
        for number in EXIT_CODES:
            signal.signal(number, signal.SIG_DFL)
        self.raise_unseen()
        try:
            yield
        finally:
            self.arm()

    def raise_unseen(self) -> None:
        """Send a signal that nobody has looked at once more, to whoever handles it now: what follows may take minutes,
        and a job that was warned does not have them."""
        if self.received is not None:
            os.kill(os.getpid(), self.received)

    def arm(self) -> None:
        """Install the handlers; called again after Lightning has put its own in their place."""
        for number in EXIT_CODES:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        received = signal.Signals(number)
        if received is signal.SIGINT and self.received is signal.SIGINT:
            os._exit(EXIT_CODES[received])
        self.received = received
