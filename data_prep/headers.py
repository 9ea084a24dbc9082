"""Lengths of recordings by their containers' headers: a few reads per file, in processes that can be killed.

A header may be wrong, which only the ``probe`` step finds out; what is read here serves plans and progress, never data.
Headers are remembered in the work folder by size and modification time of their file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from data_prep.blob import Blob
from data_prep.manifest import Recording, SkipReason, SkipRecording
from data_prep.media.client import MediaClient, MediaLimits
from data_prep.remembered import FileMemory, stamp_of

MEMORY_NAME = "headers.sqlite"


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much media a recording holds, by its headers.

    seconds  that all streams cover, longest  of any stream; None where no header says
    frames   source frames of both sides; pixels  of all these frames; bytes  of its media files
    """

    seconds: float | None = None
    longest: float | None = None
    frames: int = 0
    pixels: int = 0
    bytes: int = 0
    problem: tuple[SkipReason, str] | None = None
    """Why a file could not even be opened."""


class Headers:
    """Extents of recordings, remembered in ``work``; a context manager.

    Args:
        readers: processes that open files at the same time.
    """

    def __init__(self, work: Path, limits: MediaLimits, *, readers: int) -> None:
        self._memory = FileMemory(work / MEMORY_NAME)
        self._clients = [MediaClient(limits) for _ in range(max(1, readers))]

    def __enter__(self) -> Headers:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        self._memory.close()

    def extents(self, recordings: Sequence[Recording]) -> Iterator[tuple[Recording, Extent]]:
        """Each recording with its extent, in the order given."""
        idle: SimpleQueue[MediaClient] = SimpleQueue()
        for client in self._clients:
            idle.put(client)

        def read(blob: Blob) -> dict[str, Any]:
            client = idle.get()
            try:
                stamp = stamp_of(blob.path)  # before reading: a file that changes meanwhile is read again
                found: dict[str, Any] = {"stamp": stamp, "facts": client.header(blob)}
            except SkipRecording as skip:
                found = {"problem": [skip.reason, skip.detail]}
            except OSError as error:
                found = {"problem": [SkipReason.UNREADABLE, f"{blob.name}: {error}"]}
            finally:
                idle.put(client)
            return found

        with ThreadPoolExecutor(len(self._clients)) as pool:
            waiting = []
            for recording in recordings:
                parts: dict[str, tuple[Blob, Future[dict[str, Any]] | None, str | None]] = {}
                for role, blob in recording.media.items():
                    known = _recall(self._memory, blob)
                    parts[role] = (blob, pool.submit(read, blob) if known is None else None, known)
                waiting.append((recording, parts))
            for recording, parts in waiting:
                yield recording, _extent({role: self._facts(*part) for role, part in parts.items()})

    def _facts(self, blob: Blob, reading: Future[dict[str, Any]] | None, known: str | None) -> dict[str, Any]:
        if reading is None:
            return dict(json.loads(str(known)))
        found = reading.result()
        if "problem" in found:
            return found
        facts = found["facts"] | {"bytes": blob.stated_size()}
        self._memory.remember(blob.place, found["stamp"], json.dumps(facts))
        return dict(facts)


def weights_of(recordings: Sequence[Recording], work: Path) -> dict[str, float]:
    """What each recording counts in progress: its seconds where a plan has read all headers, else its bytes."""
    bytes_of = {recording.interaction: float(_bytes(recording)) for recording in recordings}
    if not (work / MEMORY_NAME).is_file():
        return bytes_of
    memory = FileMemory(work / MEMORY_NAME)
    try:
        seconds: dict[str, float] = {}
        for recording in recordings:
            found = {role: _recall(memory, blob) for role, blob in recording.media.items()}
            if recording.problem is None and None in found.values():
                return bytes_of
            known = {role: json.loads(facts) for role, facts in found.items() if facts is not None}
            seconds[recording.interaction] = _extent(known).seconds or 0.0
        return seconds
    finally:
        memory.close()


def _extent(facts: dict[str, dict[str, Any]]) -> Extent:
    for found in facts.values():
        if "problem" in found:
            reason, detail = found["problem"]
            return Extent(problem=(SkipReason(reason), detail))
    lengths = [found["seconds"] for found in facts.values() if found["seconds"] is not None]
    pictures = [found["video"] for role, found in facts.items() if role.endswith(".video") and found["video"]]
    return Extent(
        seconds=min(lengths, default=None),
        longest=max(lengths, default=None),
        frames=sum(picture["frames"] for picture in pictures),
        pixels=sum(picture["frames"] * picture["width"] * picture["height"] for picture in pictures),
        bytes=sum(found["bytes"] for found in facts.values()),
    )


def _recall(memory: FileMemory, blob: Blob) -> str | None:
    try:
        return memory.recall(blob.place, stamp_of(blob.path))
    except OSError:  # not there any more
        return None


def _bytes(recording: Recording) -> int:
    total = 0
    for blob in recording.media.values():
        with suppress(OSError):
            total += blob.stated_size()
    return total
