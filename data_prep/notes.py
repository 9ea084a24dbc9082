"""What a data set says about a person's words and voice; unknown is not the same as none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from avatar_lab.events.segments import Segment
from data_prep.blob import Blob

MAX_BYTES = 256 << 20
"""A transcript that is larger is refused before it is read."""
_LATEST = 1e9
"""Seconds; a time beyond is no time (nor is infinity, or a whole number that no float can hold)."""


@dataclass(frozen=True, kw_only=True)
class SpeechNotes:
    """Of one person; ``None`` where the data set does not say.

    words  stretches in which words were transcribed: a word's own where its time is known, else its utterance's
    voice  stretches in which the data set's own detector heard the person
    """

    words: list[Segment] | None
    voice: list[Segment] | None


@dataclass(frozen=True, kw_only=True)
class Notes:
    """A person's notes, and the function of the source's module that reads them.

    ``read`` takes the file's bytes and raises ValueError on what it does not understand.
    """

    blob: Blob
    read: Callable[[bytes], SpeechNotes]

    def load(self) -> SpeechNotes:
        """The notes.

        Raises:
            ValueError: the file is damaged, or larger than ``MAX_BYTES``.
        """
        if self.blob.stated_size() > MAX_BYTES:
            raise ValueError(f"{self.blob.name} has {self.blob.stated_size()} bytes, more than {MAX_BYTES}")
        with self.blob.open() as file:
            return self.read(file.read())


def segment(entry: Any) -> Segment | None:
    """The stretch that a JSON object names, or None if a time is null, not a number, or the end precedes the start."""
    times = entry.get("start"), entry.get("end")
    if not all(isinstance(time, int | float) and abs(time) <= _LATEST for time in times) or times[1] < times[0]:
        return None
    return float(times[0]), float(times[1])
