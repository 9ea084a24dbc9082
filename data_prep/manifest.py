"""Manifest rows: what a source says about each interaction, before anything was opened. And why one may be skipped."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path

from avatar_lab.serving import Refusal
from data_prep.blob import Blob
from data_prep.notes import Notes


class SkipReason(StrEnum):
    """Why a recording does not reach the shards; each is counted in the report."""

    MISSING_PARTNER = "missing_partner"
    NOT_ON_DISK = "not_on_disk"
    """The data set has the partner, but that part of it was not downloaded; does not count as damage."""
    NOT_A_PAIR = "not_a_pair"
    """More than two people, or two files that the data set keeps apart."""
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
    BAD_FEATURES = "bad_features"
    """Arrays or annotations that the data set brings along cannot be read."""
    LOW_ISOLATION = "low_isolation"
    """More of the partner's voice is in a microphone than ``bleed.min_isolation`` allows; a choice, no damage."""


NO_DAMAGE = frozenset({SkipReason.NOT_ON_DISK, SkipReason.LOW_ISOLATION})
"""Reasons that are no fault of a file: parts that were not downloaded, and what was asked to be left out. They do not
count towards ``max_skipped_share``."""


class SkipRecording(Refusal):
    """A step's way to say that this recording cannot be used; never a crash, never silent."""

    reason: SkipReason

    def __init__(self, reason: SkipReason, detail: str) -> None:
        super().__init__(reason, detail)


@dataclass(frozen=True, kw_only=True)
class SideFiles:
    """Files of one participant. ``audio`` None: the sound is inside the video file.

    channel       of the sound file, where both people are in one; ``None``: all channels mixed
    features      arrays per frame that the data set brings along, npz; notes  its transcript
    feature_rate  rows per second of those that are not one per frame of the video, where the data set says so
    """

    participant: str
    video: Blob | None
    audio: Blob | None
    channel: int | None = None
    features: Blob | None = None
    feature_rate: Fraction | None = None
    notes: Notes | None = None


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
    audio_only: bool = False
    """The data set has no pictures: video losses are masked, and no camera is ever on."""
    problem: tuple[SkipReason, str] | None = None
    """Why it cannot be used, known before any file is opened."""

    @property
    def media(self) -> dict[str, Blob]:
        """Its sound and picture files by role."""
        return {role: blob for role, blob in self.files.items() if role.endswith((".video", ".audio"))}

    @property
    def channels(self) -> dict[str, int]:
        """Which channel each side speaks on, where two people share a file; else empty."""
        return {side: files.channel for side, files in self.sides.items() if files.channel is not None}

    @property
    def files(self) -> dict[str, Blob]:
        """Every file of the interaction by role, in a fixed order."""
        found = {}
        for side, files in sorted(self.sides.items()):
            for kind, blob in (("video", files.video), ("audio", files.audio)):
                if blob is not None:
                    found[f"{side}.{kind}"] = blob
            if files.notes is not None:
                found[f"{side}.notes"] = files.notes.blob
        if self.events is not None:
            found["events"] = Blob.of(self.events)
        return found
