"""Step 1, probe: open every file of a recording, decide whether it can be used, and state its length."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from typing import Any

import numpy as np

from avatar_lab.data.schema import SIDES
from data_prep.manifest import Recording, SideFiles, SkipReason, SkipRecording
from data_prep.media.client import AudioFacts, MediaClient, VideoFacts
from data_prep.steps.store import StepResult

VERSION = 1


def probe(recording: Recording, media: MediaClient, *, max_mismatch: float, min_seconds: float) -> StepResult:
    """Facts of both sides.

    Values: ``<side>.video`` and ``<side>.audio`` facts, ``seconds`` that all streams cover. Arrays: times of every
    frame, ``<side>.pts``. A recording that is ``audio_only`` has neither facts nor times of video.

    Raises:
        SkipRecording: a partner or stream is missing, a file is damaged, or the streams' lengths differ by more than
            ``max_mismatch`` seconds.
    """
    missing = [side for side in SIDES if side not in recording.sides]
    if missing:
        raise SkipRecording(SkipReason.MISSING_PARTNER, f"{recording.interaction} has no files for side {missing}")
    values: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    ends: dict[str, float] = {}
    for side in SIDES:
        video, audio = _probe_side(recording.sides[side], media, audio_only=recording.audio_only)
        if video is not None:
            arrays[f"{side}.pts"], ends[f"{side} video"] = video.pts_P, video.end
            plain = {name: value for name, value in asdict(video).items() if name != "pts_P"}
            values[f"{side}.video"] = plain | {"fps": str(video.fps)}
        values[f"{side}.audio"], ends[f"{side} audio"] = asdict(audio), audio.end
    seconds = min(ends.values())
    if max(ends.values()) - seconds > max_mismatch:
        lengths = ", ".join(f"{name} {end:.2f} s" for name, end in ends.items())
        raise SkipRecording(SkipReason.MISMATCHED, f"{lengths} differ by more than {max_mismatch:g} s")
    if seconds < min_seconds:
        raise SkipRecording(SkipReason.TOO_SHORT, f"{seconds:.2f} s < {min_seconds:g} s")
    return StepResult(values=values | {"seconds": seconds}, arrays=arrays)


def video_facts(probed: StepResult, side: str) -> VideoFacts:
    """What the probe stored of the pictures of ``side``."""
    plain = dict(probed.values[f"{side}.video"])
    plain["fps"] = Fraction(plain["fps"])
    return VideoFacts(pts_P=probed.arrays[f"{side}.pts"], **plain)


def _probe_side(files: SideFiles, media: MediaClient, *, audio_only: bool) -> tuple[VideoFacts | None, AudioFacts]:
    video = inside = None
    if not audio_only:
        if files.video is None:
            raise SkipRecording(SkipReason.NO_VIDEO, f"{files.participant} has no video file")
        video, inside = media.probe(files.video)
        if video is None:
            raise SkipRecording(SkipReason.NO_VIDEO, f"{files.video.name} has no video stream")
        if not len(video.pts_P):
            raise SkipRecording(SkipReason.NO_FRAMES, f"{files.video.name} has a video stream without frames")
    where = files.audio or files.video
    if where is None:
        raise SkipRecording(SkipReason.NO_AUDIO, f"{files.participant} has no sound file")
    audio = media.probe(where)[1] if inside is None or files.audio is not None else inside
    if audio is None:
        raise SkipRecording(SkipReason.NO_AUDIO, f"{where.name} has no audio stream, and there is no separate file")
    if audio.end <= audio.start:
        raise SkipRecording(SkipReason.EMPTY, f"{where.name} has an audio stream without samples")
    return video, audio
