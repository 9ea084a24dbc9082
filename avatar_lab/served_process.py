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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from avatar_lab.serving import Fault, Refusal

_ROOT = Path(__file__).parents[1]
"""Folder of this code's packages, also where they are not installed."""
_START = """\
import importlib, runpy, sys
root, module = sys.argv[1:3]
del sys.argv[1:3]
sys.path.insert(0, root)
for name in {"avatar_lab", module.partition(".")[0]}:
    importlib.import_module(name)
sys.path.remove(root)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
"""Of all that lies in that folder the helper takes this code only: where it is installed, the folder is also that of
numpy and others, which are not made for another interpreter."""

Answer = tuple[dict[str, Any], bytearray]


class ServedProcess:
    """Owns one process, started by the first request; a context manager.

    Args:
        python: interpreter that runs it.
        module: dotted name of a program of this code that answers by ``serving.serve``.
        arguments: its command line.
        timeout: seconds to wait for one answer.
    """

    def __init__(self, python: str, module: str, *arguments: str, timeout: float) -> None:
        self._command = [python, "-P", "-c", _START, str(_ROOT), module, *arguments]
        self._timeout = timeout
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
        """Answers to one request, the last of which ends them; ``about`` says in messages what was asked about.

        Raises:
            Refusal: the process refused, crashed or did not answer in time.
            OSError: it cannot be started.
        """
        finished = False
        try:
            sized = request | ({"bytes": len(payload)} if payload else {})
            self._write(json.dumps(sized).encode() + b"\n" + payload, about)
            while True:
                deadline = time.monotonic() + self._timeout
                header = self._read_header(deadline, about)
                answer = self._read(header["bytes"], deadline, about)
                self.cpu_seconds += header.get("cpu", 0.0)
                if "error" in header:
                    finished = True
                    raise Refusal(header["error"], f"{about}: {header['detail']}")
                if header.get("done"):
                    finished = True
                    return
                yield header, answer
        except BrokenPipeError as error:
            raise Refusal(Fault.UNREADABLE, f"{about}: the helper process crashed") from error
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
                raise Refusal(Fault.TIMEOUT, f"{about}: not taken within {self._timeout:g} s")
            view = view[os.write(pipe, view) :]

    def _read_header(self, deadline: float, about: str) -> dict[str, Any]:
        line = b""
        while not line.endswith(b"\n"):
            line += self._read(1, deadline, about)
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError) as error:
            detail = f"{about}: the helper process says {line[:60]!r}, which is no answer"
            raise Refusal(Fault.UNREADABLE, detail) from error

    def _read(self, size: int, deadline: float, about: str) -> bytearray:
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise Refusal(Fault.TIMEOUT, f"{about}: no answer within {self._timeout:g} s")
            got = os.readv(pipe, [view])
            if got == 0:
                raise Refusal(Fault.UNREADABLE, f"{about}: the helper process crashed")
            view = view[got:]
        return buffer
