"""Step 5, track: where in the picture the face is, as one place per person and recording.

The place does not follow the head: nods, leans and shifts of posture are what models learn, and a crop that moves along
takes them away. Cameras of two-person recordings stand still; how far the face strays from the place is recorded, so
that recordings in which it does not fit can be told.

Boxes come from the data set where it has any, else from a detector where one is configured (``media/faces.py``).
Keypoints are COCO-WholeBody's 133 (Jin et al. 2020, arXiv:2007.11858), of which 68 are the face.

    N video frames of the source
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.blob import Blob
from data_prep.npz import read_arrays
from data_prep.steps.store import StepResult

VERSION = 1
_KEYPOINTS, _BOX, _VALID = (f"boxes_and_keypoints:{name}" for name in ("keypoints", "box", "is_valid_box"))
_FACE = slice(23, 91)
_MIN_CONFIDENCE = 0.3
_HEAD_OF_BODY = 0.2
"""Height of a face as a share of its body's box, where only that is known."""
_MIN_FRAMES = 10
_MIN_SHARE_DETECTED = 0.25
"""Of the pictures in which a detector looked; what it sees in fewer may be a portrait on the wall."""


@dataclass(frozen=True, kw_only=True)
class Face:
    """A face's place in shares of the picture's width and height."""

    x: float
    y: float
    """Centre."""
    height: float
    """Of the face, as a share of the picture's height."""
    share: float
    """Of frames in which it was found."""
    stray: float
    """Ninetieth percentile of its distance from the centre, in heights of the face."""
    origin: str
    """``keypoints``, ``box`` (of the body), ``mediapipe`` (a detector's), or ``none``: nothing is known, the whole
    picture is used."""


NOWHERE = Face(x=0.5, y=0.5, height=1.0, share=0.0, stray=0.0, origin="none")


def find_face(features: Blob | None, *, width: int, height: int) -> Face:
    """The face's place by the arrays that the data set brings along, in pixels of a picture of this size.

    Raises:
        SkipRecording: the file is damaged.
    """
    if features is None:
        return NOWHERE
    arrays = read_arrays(features, (_KEYPOINTS, _BOX, _VALID))
    for origin, place in (("keypoints", _from_keypoints(arrays)), ("box", _from_boxes(arrays))):
        if place is None:
            continue
        frames, centre_N2, height_N = place
        if len(height_N) >= _MIN_FRAMES:
            return _face(centre_N2, height_N, frames=frames, width=width, height=height, origin=origin)
    return NOWHERE


def place_of(box_R4: np.ndarray, *, width: int, height: int) -> Face:
    """The face's place by a detector's boxes in ``R`` pictures (left, top, width and height in shares of the picture,
    zeros where there is none), or ``NOWHERE`` if it was found in too few of them."""
    box_n4 = box_R4[box_R4[:, 3] > 0] * (width, height, width, height)
    if len(box_n4) < max(1.0, _MIN_SHARE_DETECTED * len(box_R4)):
        return NOWHERE
    centre_n2 = box_n4[:, :2] + box_n4[:, 2:] / 2
    return _face(centre_n2, box_n4[:, 3], frames=len(box_R4), width=width, height=height, origin="mediapipe")


def _face(centre_n2: np.ndarray, height_n: np.ndarray, *, frames: int, width: int, height: int, origin: str) -> Face:
    """The typical place of a face found in ``n`` of ``frames``; centres and heights in pixels."""
    middle_2, typical = np.median(centre_n2, axis=0), float(np.median(height_n))
    stray_n = np.linalg.norm(centre_n2 - middle_2, axis=1) / typical
    return Face(
        x=float(middle_2[0] / width),
        y=float(middle_2[1] / height),
        height=typical / height,
        share=len(height_n) / frames,
        stray=float(np.percentile(stray_n, 90)),
        origin=origin,
    )


def _from_keypoints(arrays: dict[str, np.ndarray]) -> tuple[int, np.ndarray, np.ndarray] | None:
    """Frames in all, and centres (n, 2) and heights (n,) of those in which at least half of the face is sure."""
    points_NK3 = arrays.get(_KEYPOINTS)
    if points_NK3 is None or points_NK3.ndim != 3 or points_NK3.shape[1:] != (133, 3):
        return None
    face_NK3 = points_NK3[:, _FACE].astype(np.float64)
    sure_N = (face_NK3[..., 2] > _MIN_CONFIDENCE).mean(1) > 0.5
    sure_N &= np.isfinite(face_NK3).all((1, 2))
    low_N2, high_N2 = face_NK3[sure_N, :, :2].min(1), face_NK3[sure_N, :, :2].max(1)
    height_N = high_N2[:, 1] - low_N2[:, 1]
    real_N = height_N > 1
    return len(points_NK3), ((low_N2 + high_N2) / 2)[real_N], height_N[real_N]


def _from_boxes(arrays: dict[str, np.ndarray]) -> tuple[int, np.ndarray, np.ndarray] | None:
    """The same, guessed from the box of the whole person: the head is at its top."""
    box_N4 = arrays.get(_BOX)
    if box_N4 is None or box_N4.ndim != 2 or box_N4.shape[1] != 4:
        return None
    box_N4 = box_N4.astype(np.float64)
    valid_N = np.isfinite(box_N4).all(1) & (box_N4[:, 3] - box_N4[:, 1] > 1)
    if _VALID in arrays and len(arrays[_VALID]) == len(box_N4):
        valid_N &= arrays[_VALID].astype(bool).reshape(-1)
    left_n, top_n, right_n, bottom_n = box_N4[valid_N].T
    height_n = _HEAD_OF_BODY * (bottom_n - top_n)
    return len(box_N4), np.stack([(left_n + right_n) / 2, top_n + height_n / 2], axis=1), height_n


def track(faces: dict[str, Face]) -> StepResult:
    """Places of both sides as a stored result."""
    return StepResult(values={side: vars(face) for side, face in faces.items()})
