"""The process that finds landmarks with mediapipe, in an interpreter of its own.

The mesh of 468 points (Kartynnik et al. 2019, arXiv:1907.06724), refined around eyes and lips by attention (Grishchenko
et al. 2020, arXiv:2006.10962) and with ten points of the irises, follows one face through a video. This program imports
nothing but mediapipe, numpy and the standard library.

    R pictures   L landmarks   H, W, C picture
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from avatar_lab.mediapipe_process import about
from avatar_lab.serving import Answer, limit_process, serve

LANDMARKS = 478


class Mesh:
    """Follows the face of one video at a time."""

    def __init__(self) -> None:
        self._mesh: Any = None

    def landmarks(self, request: dict[str, Any]) -> Iterator[Answer]:
        """Landmarks (R, L, 2) of consecutive pictures, (x, y) in pixels, float32, not a number where there is no face;
        ``first``: a new video begins with them."""
        from mediapipe.python.solutions.face_mesh import FaceMesh

        if request["first"]:
            if self._mesh is not None:
                self._mesh.close()
            self._mesh = FaceMesh(max_num_faces=1, refine_landmarks=True)
        shape = (request["frames"], request["height"], request["width"], 3)
        frames_RHWC = np.frombuffer(request["payload"], np.uint8).reshape(shape)
        points_RL2 = np.stack([self._points(frame_HWC) for frame_HWC in frames_RHWC])
        yield {"bytes": points_RL2.nbytes}, points_RL2.tobytes()

    def _points(self, frame_HWC: np.ndarray) -> np.ndarray:
        faces = self._mesh.process(frame_HWC).multi_face_landmarks
        if not faces:
            return np.full((LANDMARKS, 2), np.nan, np.float32)
        height, width = frame_HWC.shape[:2]
        return np.array([(point.x * width, point.y * height) for point in faces[0].landmark], np.float32)


if __name__ == "__main__":
    limit_process(int(sys.argv[1]))
    serve({"about": about, "landmarks": Mesh().landmarks}, sys.stdin.buffer, sys.stdout.buffer)
