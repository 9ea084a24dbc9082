"""A helper program for tests: it answers, refuses, fails, crashes and hangs as it is told."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from avatar_lab.serving import Answer, Refusal, limit_process, serve


def echo(request: dict[str, Any]) -> Iterator[Answer]:
    for half in (request["payload"][::2], request["payload"][1::2]):
        yield {"pid": os.getpid(), "arguments": sys.argv[1:], "bytes": len(half)}, half


def refuse(request: dict[str, Any]) -> Iterator[Answer]:
    yield {"bytes": 0}, b""
    raise Refusal("no_audio", "there is none")


def fail(request: dict[str, Any]) -> Iterator[Answer]:
    raise ValueError("odd file")


def exhaust(request: dict[str, Any]) -> Iterator[Answer]:
    yield {"bytes": 0}, bytes(8 << 30)


def crash(request: dict[str, Any]) -> Iterator[Answer]:
    os._exit(3)


def hang(request: dict[str, Any]) -> Iterator[Answer]:
    time.sleep(1e6)
    yield {"bytes": 0}, b""


def where(request: dict[str, Any]) -> Iterator[Answer]:
    spec = importlib.util.find_spec(request["module"])
    yield {"origin": None if spec is None else spec.origin, "bytes": 0}, b""


if __name__ == "__main__":
    limit_process(4 << 30)
    operations = (echo, refuse, fail, exhaust, crash, hang, where)
    serve({operation.__name__: operation for operation in operations}, sys.stdin.buffer, sys.stdout.buffer)
