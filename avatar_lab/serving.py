"""The helper process's end of ``served_process.py``: requests from stdin to operations, their answers to stdout.

It imports nothing but the standard library, since a helper may run in an interpreter that has little else.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, BinaryIO

from avatar_lab.lifetime import die_with_parent, leave_interrupts_to_parent

Answer = tuple[dict[str, Any], bytes]
Operation = Callable[[dict[str, Any]], Iterator[Answer]]

_FAULTS = (OSError, ValueError, IndexError, RuntimeError)
"""What libraries raise on damaged files; a bug would show as the same reason on every file."""


class Fault(StrEnum):
    """Why any helper may leave a request without an answer; an operation may have reasons of its own."""

    UNREADABLE = "unreadable"
    """A library failed on what was asked about, or the process crashed over it."""
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"


class Refusal(Exception):
    """A request that was not answered: ``reason`` is a word to count by, ``detail`` says what happened to what."""

    reason: str

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def serve(
    operations: Mapping[str, Operation],
    source: BinaryIO,
    sink: BinaryIO,
    *,
    faults: tuple[type[Exception], ...] = (),
) -> None:
    """Answer requests until ``source`` closes. ``{"error": reason, "detail": text}`` answers one that failed, by a
    ``Refusal`` or by one of ``faults``; the ``payload`` of a request is what followed its line."""
    expected: tuple[type[Exception], ...] = (*faults, *_FAULTS)
    for line in source:
        request = json.loads(line)
        request["payload"] = source.read(request.get("bytes", 0))
        began = time.process_time()
        try:
            for header, payload in operations[request["op"]](request):
                _send(sink, header, payload)
            _send(sink, {"done": True, "bytes": 0, "cpu": time.process_time() - began}, b"")
        except Refusal as refusal:
            _send(sink, {"error": refusal.reason, "detail": refusal.detail, "bytes": 0}, b"")
        except MemoryError:
            _send(sink, {"error": Fault.TOO_LARGE, "detail": "out of the worker's memory limit", "bytes": 0}, b"")
        except expected as error:
            detail = f"{type(error).__name__}: {error}"
            _send(sink, {"error": Fault.UNREADABLE, "detail": detail, "bytes": 0}, b"")


def _send(sink: BinaryIO, header: dict[str, Any], payload: bytes) -> None:
    sink.write(json.dumps(header).encode() + b"\n")
    sink.write(payload)
    sink.flush()


def limit_process(memory_bytes: int) -> None:
    """Bound the memory of this process, and leave no process behind."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    die_with_parent()
    leave_interrupts_to_parent()
