"""Manifest rows: what a source says about each interaction, before anything was opened. And why one may be skipped."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class SkipReason(StrEnum):
    """Why a recording does not reach the shards; each is counted in the report."""

    MISSING_PARTNER = "missing_partner"
    EMPTY = "empty"
    """A file of zero bytes, or one that holds a header and no media."""
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    """The file ends before its own header says it does."""
    NO_VIDEO = "no_video"
    NO_AUDIO = "no_audio"
    NO_FRAMES = "no_frames"
    TOO_LARGE = "too_large"
    """The header announces more pixels, frames or seconds than the limits allow."""
    TOO_SHORT = "too_short"
    MISMATCHED = "mismatched_durations"
    TIMEOUT = "timeout"
    BAD_EVENTS = "bad_events"


class SkipRecording(Exception):
    """A step's way to say that this recording cannot be used; never a crash, never silent."""

    def __init__(self, reason: SkipReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True, kw_only=True)
class SideFiles:
    """Files of one participant. ``audio`` None: the sound is inside the video file."""

    participant: str
    video: Path | None
    audio: Path | None


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One interaction of a source."""

    interaction: str
    source: str
    group: str
    """Participants of one group (family, session, room) go into the same split."""
    sides: dict[str, SideFiles]
    """By ``a`` and ``b``; one is absent if the source lacks the partner."""
    license: str
    non_commercial: bool
    events: Path | None = None
    """The source's own event table (``avatar_lab.event_types.EVENT_SCHEMA``)."""
    split: str | None = None
    """Fixed by the source, or None: drawn from the participants."""

    @property
    def files(self) -> dict[str, Path]:
        """Every file of the interaction by role, in a fixed order."""
        found = {}
        for side, files in sorted(self.sides.items()):
            for kind, path in (("video", files.video), ("audio", files.audio)):
                if path is not None:
                    found[f"{side}.{kind}"] = path
        if self.events is not None:
            found["events"] = self.events
        return found
