"""The helper process's end of ``process.py``: requests from stdin to operations, their answers to stdout.

It does not import torch, and nothing but the standard library and the file's own package.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from avatar_lab.lifetime import die_with_parent, leave_interrupts_to_parent
from data_prep.manifest import SkipReason, SkipRecording

Answer = tuple[dict[str, Any], bytes]
Operation = Callable[[dict[str, Any]], Iterator[Answer]]

_FAULTS = (OSError, ValueError, IndexError, RuntimeError)
"""What libraries raise on damaged files; a bug would show as the same reason on every file."""


def serve(
    operations: Mapping[str, Operation],
    source: BinaryIO,
    sink: BinaryIO,
    *,
    faults: tuple[type[Exception], ...] = (),
) -> None:
    """Answer requests until ``source`` closes. ``{"error": reason, "detail": text}`` answers one that failed, by
    ``SkipRecording`` or by one of ``faults``; the ``payload`` of a request is what followed its line."""
    expected: tuple[type[Exception], ...] = (*faults, *_FAULTS)
    for line in source:
        request = json.loads(line)
        request["payload"] = source.read(request.get("bytes", 0))
        began = time.process_time()
        try:
            for header, payload in operations[request["op"]](request):
                _send(sink, header, payload)
            _send(sink, {"done": True, "bytes": 0, "cpu": time.process_time() - began}, b"")
        except SkipRecording as fault:
            _send(sink, {"error": fault.reason, "detail": fault.detail, "bytes": 0}, b"")
        except MemoryError:
            _send(sink, {"error": SkipReason.TOO_LARGE, "detail": "out of the worker's memory limit", "bytes": 0}, b"")
        except expected as error:
            detail = f"{type(error).__name__}: {error}"
            _send(sink, {"error": SkipReason.UNREADABLE, "detail": detail, "bytes": 0}, b"")


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
