"""Mouth, lids and steadiness of the face by mediapipe's landmarks, for faces that the pixel reader was not made for.

The pixel reader knows the embedded world's faces; these landmarks are of real ones. All agents and the recorded person
are looked at alike, so read a number beside the recorded person's. mediapipe lives in an interpreter of its own, which
a variable of the environment names; it takes some 6 ms a frame on one core.

The smaller and softer a face, the less is seen of its lids: in the embedded world's films (eyes 15 pixels apart) every
blink is found, behind its codec four of five, and few of a student's that the pixel reader sees.

    P video frames   L landmarks
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from avatar_lab.evaluation.finding import Finding, finding
from avatar_lab.evaluation.lip_sync import speech_frames
from avatar_lab.evaluation.metric.landmarks import blink_rate, face_share, jitter, mouth_sync
from avatar_lab.evaluation.metric.undefined import Array
from avatar_lab.evaluation.plugin.landmark_finder import LandmarkFinder
from avatar_lab.evaluation.plugin.protocol import Judging, Take
from avatar_lab.evaluation.references import Unavailable
from avatar_lab.mediapipe_process import MEDIAPIPE, advice, require_mediapipe
from avatar_lab.serving import Refusal

VARIABLE = "AVATAR_LAB_MEDIAPIPE"


@dataclass(frozen=True)
class FaceLandmarks(Judging):
    """The face that is followed through all frames of a take."""

    name: ClassVar[str] = "face_landmarks"
    metrics: ClassVar[tuple[str, ...]] = (
        "landmark_lip_correlation",
        "landmark_lip_lag_ms",
        "landmark_blink_rate",
        "landmark_jitter",
        "landmark_face_share",
    )
    weights: ClassVar[str] = (
        f"face_landmark_with_attention.tflite and face_detection_short_range.tflite (Apache-2.0), in the package "
        f"mediapipe {MEDIAPIPE}; {VARIABLE} is an interpreter that has it"
    )

    def identity(self) -> str:
        _network(_interpreter()).close()  # takes may be seen in other processes; here it starts again when asked
        return f"mediapipe {MEDIAPIPE}"

    def measure(self, take: Take) -> list[Finding]:
        points_PL2 = _landmarks(take)
        fps, observation = float(take.layout.fps), take.observation
        speaking_P = speech_frames(observation.speech, len(points_PL2), fps)
        lips = mouth_sync(points_PL2, observation.envelope_P, speaking_P, fps)
        blinks, shaking = blink_rate(points_PL2, fps), jitter(points_PL2)
        return [
            finding("landmark_lip_correlation", lips, lambda s: s.correlation, lambda s: s.frames),
            finding("landmark_lip_lag_ms", lips, lambda s: s.lag_ms, lambda s: s.frames),
            finding("landmark_blink_rate", blinks, lambda b: b.per_minute, lambda b: b.blinks),
            finding("landmark_jitter", shaking, lambda j: j.percent, lambda j: j.triples),
            Finding(metric="landmark_face_share", value=face_share(points_PL2), n=len(points_PL2)),
        ]


def _landmarks(take: Take) -> Array:
    python = _interpreter()
    try:
        return _network(python).find(take.media.video_PHWC)
    except Refusal as refusal:
        raise Unavailable(
            f"{VARIABLE}={python} gave no answer twice ({refusal.detail}): look for what ended it, such as memory, and "
            "evaluate into another folder (out=...)"
        ) from refusal


@cache
def _network(python: str) -> LandmarkFinder:
    finder = LandmarkFinder(python)
    try:
        require_mediapipe(finder, python, named_by=VARIABLE)
    except ValueError as error:
        finder.close()
        raise Unavailable(str(error)) from error
    return finder


def _interpreter() -> str:
    python = os.environ.get(VARIABLE, "")
    if not python:
        raise Unavailable(f"{VARIABLE} does not say where mediapipe is: {advice(VARIABLE)}")
    return os.path.expanduser(python)
