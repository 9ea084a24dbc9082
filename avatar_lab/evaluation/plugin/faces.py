"""Where the face is in a picture, by dlib's detector: histograms of gradients (Dalal & Triggs 2005, CVPR), trained by
max-margin object detection (King 2015, arXiv:1502.00046). It is part of the library and needs no file.

    H, W, C picture
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avatar_lab.evaluation.plugin.packages import import_or_say

Picture = NDArray[np.uint8]

MIN_SIDE = 320
"""Pixels of the shorter side; the detector knows faces of 80 pixels and more, so smaller pictures are enlarged."""


@dataclass(frozen=True)
class Face:
    """A face in a picture that may have been enlarged by ``scale``; ``place`` is dlib's rectangle in its pixels."""

    picture_HWC: Picture
    scale: float
    place: Any

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) in pixels of the picture that was given."""
        return (
            (self.place.left() + self.place.right()) / 2 / self.scale,
            (self.place.top() + self.place.bottom()) / 2 / self.scale,
        )

    @property
    def size(self) -> float:
        """The larger side, in pixels of the picture that was given."""
        return max(self.place.width(), self.place.height()) / self.scale


def find_face(picture_HWC: Picture, install: str) -> Face | None:
    """The largest face of a picture, ``None`` where there is none.

    Raises:
        Unavailable: dlib is not installed; the message is ``install``.
    """
    detector = _detector(install)
    scale = max(1.0, MIN_SIDE / min(picture_HWC.shape[:2]))
    enlarged_HWC = resize(picture_HWC, scale) if scale > 1 else np.ascontiguousarray(picture_HWC)
    places = detector(enlarged_HWC, 0)
    if not len(places):
        return None
    return Face(enlarged_HWC, scale, max(places, key=lambda place: place.area()))


def resize(picture_HWC: Picture, scale: float) -> Picture:
    """A picture of another size, by cubic splines."""
    height, width = (round(side * scale) for side in picture_HWC.shape[:2])
    picture_1CHW = torch.from_numpy(np.array(picture_HWC)).movedim(-1, 0)[None].float()
    resized_1CHW = torch.nn.functional.interpolate(picture_1CHW, (height, width), mode="bicubic", antialias=True)
    return resized_1CHW[0].movedim(0, -1).round().clip(0, 255).byte().contiguous().numpy()


def dlib_or_say(install: str) -> Any:
    """The library.

    Raises:
        Unavailable: it is not installed; the message is ``install``.
    """
    return import_or_say("dlib", install)


@cache
def _detector(install: str) -> Any:
    return dlib_or_say(install).get_frontal_face_detector()
