"""A helper process that is killed when it does not answer: requests with a deadline, a fresh one after every kill.

A request is a JSON line on its stdin, followed by ``bytes`` raw bytes if it names any; an answer is a JSON line on its
stdout, followed by ``bytes`` raw bytes. ``serving.py`` is the other end.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from data_prep.manifest import SkipReason, SkipRecording

_ROOT = Path(__file__).parents[2]
"""Folder of the ``data_prep`` package, also where it is not installed."""

Answer = tuple[dict[str, Any], bytearray]


class ServedProcess:
    """Owns one process, started by the first request; a context manager.

    Args:
        command: starts a program that answers by ``serving.serve``.
        timeout: seconds to wait for one answer.
    """

    def __init__(self, command: Sequence[str], *, timeout: float) -> None:
        self._command, self._timeout = list(command), timeout
        self._process: subprocess.Popen[bytes] | None = None
        self.cpu_seconds = 0.0
        """Processor time of all answers so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self._process = None

    def ask(self, request: dict[str, Any], *, about: str, payload: bytes = b"") -> Iterator[Answer]:
        """Answers to one request, the last of which ends them; ``about`` names the file in messages.

        Raises:
            SkipRecording: the process refused, crashed or did not answer in time.
        """
        finished = False
        try:
            sized = request | ({"bytes": len(payload)} if payload else {})
            self._write(json.dumps(sized).encode() + b"\n" + payload, about)
            while True:
                deadline = time.monotonic() + self._timeout
                header = json.loads(self._read_line(deadline, about))
                answer = self._read(header["bytes"], deadline, about)
                self.cpu_seconds += header.get("cpu", 0.0)
                if "error" in header:
                    finished = True
                    raise SkipRecording(SkipReason(header["error"]), f"{about}: {header['detail']}")
                if header.get("done"):
                    finished = True
                    return
                yield header, answer
        except BrokenPipeError as error:
            raise SkipRecording(SkipReason.UNREADABLE, f"{about}: the decoder crashed") from error
        finally:
            if not finished:  # answers that nobody will read are still in the pipe
                self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=os.environ | {"PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])},
            )
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)  # a write takes what the pipe has room for
        return self._process

    def _write(self, request: bytes, about: str) -> None:
        process = self._started()
        assert process.stdin is not None
        pipe, deadline = process.stdin.fileno(), time.monotonic() + self._timeout
        view = memoryview(request)
        while view:
            _, ready, _ = select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise SkipRecording(SkipReason.TIMEOUT, f"{about}: not taken within {self._timeout:g} s")
            view = view[os.write(pipe, view) :]

    def _read_line(self, deadline: float, about: str) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += self._read(1, deadline, about)
        return line

    def _read(self, size: int, deadline: float, about: str) -> bytearray:
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise SkipRecording(SkipReason.TIMEOUT, f"{about}: no answer within {self._timeout:g} s")
            got = os.readv(pipe, [view])
            if got == 0:
                raise SkipRecording(SkipReason.UNREADABLE, f"{about}: the decoder crashed")
            view = view[got:]
        return buffer
