"""What landmarks of a face say: whether the mouth goes with the voice, how often the lids close, whether it trembles.

Landmarks are numbered as in mediapipe's mesh (Kartynnik et al. 2019, arXiv:1907.06724), in pixels; none is finite in a
frame without a face. Lengths are shares of the distance of the outer eye corners, so that the size of the face does not
matter.

    P video frames   L landmarks   N rigid points
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d

from avatar_lab.evaluation.lip_sync import MAX_LAG_SECONDS, LipSync, lip_sync
from avatar_lab.evaluation.metric.undefined import Array, Undefined
from avatar_lab.events.blinks import detect_blinks

INNER_LIPS = (13, 14)
OUTER_CORNERS = (33, 263)
EYES = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380))
"""Corner, two points of the upper lid, corner, two of the lower, as p1 to p6 of Soukupova & Cech."""
RIGID = (33, 133, 362, 263, 168, 6, 197, 195)
"""Corners of the eyes and bridge of the nose, which no expression moves much."""
MIN_SECONDS = 5.0
"""A face seen for less has no rate of blinks."""
MIN_TRIPLES = 25
"""Fewer frames whose neighbours have a face too say nothing about trembling."""


@dataclass(frozen=True, kw_only=True)
class BlinkRate:
    """Blinks per minute in which a face is seen."""

    per_minute: float
    blinks: int


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """How far points are from where they should be, in percent of the eye distance."""

    percent: float
    triples: int


def face_frames(points_PL2: Array) -> NDArray[np.bool_]:
    """Frames (P,) with a face: all landmarks finite, the eyes apart."""
    return np.isfinite(points_PL2).all((1, 2)) & (_apart(points_PL2, OUTER_CORNERS) > 0)


def face_share(points_PL2: Array) -> float | Undefined:
    """Share of frames with a face, 0 to 1; undefined without frames."""
    return float(face_frames(points_PL2).mean()) if len(points_PL2) else Undefined("there are no frames")


def mouth_aperture(points_PL2: Array) -> Array:
    """Distance of the inner lips (P,) as a share of the eye distance; not a number without a face."""
    return _apart(points_PL2, INNER_LIPS) / _eye_distance(points_PL2)


def eye_aspect_ratio(points_PL2: Array) -> Array:
    """Height over width of the eyes (P,), the mean of both: (|p2 - p6| + |p3 - p5|) / (2 |p1 - p4|); not a number
    without a face (Soukupova & Cech 2016, "Real-time eye blink detection using facial landmarks", CVWW)."""
    faces_PL2 = np.where(face_frames(points_PL2)[:, None, None], points_PL2, np.nan)
    of_each = []
    for eye in EYES:
        p1, p2, p3, p4, p5, p6 = faces_PL2[:, eye].swapaxes(0, 1)
        height_P = np.linalg.norm(p2 - p6, axis=-1) + np.linalg.norm(p3 - p5, axis=-1)
        width_P = np.linalg.norm(p1 - p4, axis=-1)
        of_each.append(height_P / (2 * np.where(width_P > 0, width_P, np.nan)))
    return np.mean(of_each, axis=0)


def mouth_sync(points_PL2: Array, envelope_P: Array, speaking_P: NDArray[np.bool_], fps: float) -> LipSync | Undefined:
    """Largest correlation, over lags, of mouth aperture with the envelope of the voice (``lip_sync``: Pearson's r over
    frames of speech, higher is better) and its lag in ms, positive = the mouth follows the sound.

    Counted are frames with a face at all lags. Undefined: no face, less than a second of such speech, a mouth or voice
    that does not move.
    """
    seen_P = face_frames(points_PL2)
    if not seen_P.any():
        return Undefined(f"no face is found in {len(seen_P)} frames")
    reach = round(MAX_LAG_SECONDS * fps)
    throughout_P = minimum_filter1d(seen_P.astype(np.uint8), 2 * reach + 1, mode="nearest").astype(bool)
    aperture_P = np.where(seen_P, mouth_aperture(points_PL2), 0.0)
    found = lip_sync(aperture_P, envelope_P, speaking_P & throughout_P, fps)
    return found or Undefined("too little speech with a face throughout, or a mouth or voice that does not move")


def blink_rate(points_PL2: Array, fps: float) -> BlinkRate | Undefined:
    """Blinks per minute with a face; people's 17 to 26 (``human.py``) are normal, so neither direction is better.

    A blink is a fall of the eye aspect ratio by three tenths of its median and back within half a second (the .2 that
    Soukupova & Cech call closed, where .3 is open; the rule of ``events/blinks.py``). Undefined: a face for less than
    five seconds, eyes that are shut throughout.
    """
    ratio_P = eye_aspect_ratio(points_PL2)
    seen_P = np.isfinite(ratio_P)
    seconds = float(seen_P.sum() / fps)
    if seconds < MIN_SECONDS:
        return Undefined(f"a face is seen for {seconds:.1f} s; {MIN_SECONDS:g} are needed for a rate")
    rest = float(np.median(ratio_P[seen_P]))
    if rest <= 0:
        return Undefined("the eyes are shut half of the time or more")
    closure_P = np.where(seen_P, 1 - ratio_P / rest, 0.0)
    blinks = len(detect_blinks(closure_P, fps))
    return BlinkRate(per_minute=blinks / seconds * 60, blinks=blinks)


def jitter(points_PL2: Array) -> Jitter | Undefined:
    """How far rigid points are from the middle between where they are a frame before and after, as the root of the mean
    square over points and frames: the noise that Gasser et al. 1986 (Biometrika 73) estimate from pseudo-residuals, in
    percent of the eye distance.

    Independent noise of standard deviation s in x and in y gives sqrt(2) s, steady motion gives 0; motion of f Hz
    counts by 1 - cos(2 pi f / fps). So the recorded person has some, and neither direction is better than theirs. What
    finds the landmarks adds its own. Undefined: fewer than 25 frames whose neighbours have a face too.
    """
    seen_P = face_frames(points_PL2)
    middle_P = np.flatnonzero(seen_P[:-2] & seen_P[1:-1] & seen_P[2:]) + 1
    if len(middle_P) < MIN_TRIPLES:
        return Undefined(f"{len(middle_P)} frames have a face and so have their neighbours; {MIN_TRIPLES} are needed")
    rigid_PN2 = points_PL2[:, RIGID]
    residual_PN2 = rigid_PN2[middle_P] - (rigid_PN2[middle_P - 1] + rigid_PN2[middle_P + 1]) / 2
    share_PN2 = residual_PN2 / _eye_distance(points_PL2)[middle_P, None, None]
    # the residual of noise has 1 + 2 / 4 times its variance
    return Jitter(percent=float(100 * np.sqrt((share_PN2**2).sum(-1).mean() / 1.5)), triples=len(middle_P))


def _eye_distance(points_PL2: Array) -> Array:
    return np.where(face_frames(points_PL2), _apart(points_PL2, OUTER_CORNERS), np.nan)


def _apart(points_PL2: Array, pair: tuple[int, int]) -> Array:
    return np.linalg.norm(points_PL2[:, pair[0]] - points_PL2[:, pair[1]], axis=-1)
