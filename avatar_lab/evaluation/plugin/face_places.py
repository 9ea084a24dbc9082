"""Where the face is in every frame of a stretch, and what a network of faces sees of it.

The face is looked for now and then and its place interpolated, as trackers do; the crop follows the public pipeline of
SyncNet: 2.8 half sizes wide and high, a little more below than above.

    P frames   H, W, C picture
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import medfilt
from torch import Tensor

from avatar_lab.evaluation.metric.undefined import Array
from avatar_lab.evaluation.plugin.faces import find_face

EVERY = 5
"""Frames between two looks."""
SMOOTHED = 5
"""Looks over which places are median-filtered."""
ABOVE, BELOW, ASIDE = 1.0, 1.8, 1.4
"""What a crop has around the centre of the face, in half sizes of it."""
GREY = 110.0
"""Beyond the picture."""


@dataclass(frozen=True, kw_only=True)
class FacePlaces:
    """Centre and half size of the face, in pixels, from frame ``first`` on: (P, 3)."""

    first: int
    place_P3: Array

    def crop(self, video_PHWC: NDArray[np.uint8], frame: int, side: int) -> Tensor:
        """The face in a frame of the whole video, (C, side, side), 0 to 255."""
        x, y, half = self.place_P3[frame - self.first]
        size = max(1, round(half * (ABOVE + BELOW)))
        left, top = round(x - half * ASIDE), round(y - half * ABOVE)
        picture_HWC = video_PHWC[frame]
        height, width = picture_HWC.shape[:2]
        crop_HWC = np.full((size, size, 3), GREY, dtype=np.float32)
        rows, columns = slice(max(top, 0), min(top + size, height)), slice(max(left, 0), min(left + size, width))
        if rows.start < rows.stop and columns.start < columns.stop:
            inside = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
            crop_HWC[inside] = picture_HWC[rows, columns]
        crop_1CHW = torch.from_numpy(crop_HWC).movedim(-1, 0)[None]
        return torch.nn.functional.interpolate(crop_1CHW, (side, side), mode="bilinear", antialias=True)[0]


def track_faces(video_PHWC: NDArray[np.uint8], first: int, end: int, install: str) -> FacePlaces | None:
    """The largest face from frame ``first`` to before ``end``; ``None`` where none is found at all.

    Raises:
        Unavailable: dlib is not installed; the message is ``install``.
    """
    looks = range(first, end, EVERY)
    found = [(frame, face) for frame in looks if (face := find_face(video_PHWC[frame], install)) is not None]
    if not found:
        return None
    frames_N = np.array([frame for frame, _ in found])
    places_N3 = np.array([(*face.centre, face.size / 2) for _, face in found], dtype=np.float64)
    smooth_N3 = medfilt(np.pad(places_N3, ((SMOOTHED // 2,) * 2, (0, 0)), mode="edge"), (SMOOTHED, 1))
    smooth_N3 = smooth_N3[SMOOTHED // 2 : SMOOTHED // 2 + len(found)]
    place_P3 = np.stack([np.interp(np.arange(first, end), frames_N, curve_N) for curve_N in smooth_N3.T], axis=1)
    return FacePlaces(first=first, place_P3=place_P3)
