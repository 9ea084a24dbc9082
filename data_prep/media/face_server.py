"""The process that finds faces with mediapipe, in an interpreter of its own.

This program imports nothing but mediapipe, numpy and the standard library, and is started with whatever interpreter
``faces.python`` names. Both BlazeFace detectors (Bazarevsky et al. 2019, arXiv:1907.05047) are asked: the one for faces
within two metres of the camera, and the one for up to five.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from avatar_lab.mediapipe_process import about
from avatar_lab.serving import Answer, limit_process, serve


class Finder:
    """Both detectors, started when first asked."""

    def __init__(self) -> None:
        self._detectors: dict[float, list[Any]] = {}

    def faces(self, request: dict[str, Any]) -> Iterator[Answer]:
        """The largest face of each picture: (x, y, width, height) of its box in shares of the picture, float64, or
        zeros where there is none."""
        shape = (request["frames"], request["height"], request["width"], 3)
        frames_RHWC = np.frombuffer(request["payload"], np.uint8).reshape(shape)
        box_R4 = np.asarray([self._largest(frame, request["confidence"]) for frame in frames_RHWC], np.float64)
        yield {"bytes": box_R4.nbytes}, box_R4.tobytes()

    def _largest(self, frame_HWC: np.ndarray, confidence: float) -> tuple[float, float, float, float]:
        best = (0.0, 0.0, 0.0, 0.0)
        for detector in self._for(confidence):
            for detection in detector.process(frame_HWC).detections or []:
                box = detection.location_data.relative_bounding_box
                if box.width * box.height > best[2] * best[3]:
                    best = (box.xmin, box.ymin, box.width, box.height)
        return best

    def _for(self, confidence: float) -> list[Any]:
        from mediapipe.python.solutions.face_detection import FaceDetection

        if confidence not in self._detectors:
            near_and_far = [FaceDetection(confidence, model_selection=reach) for reach in (0, 1)]
            self._detectors[confidence] = near_and_far
        return self._detectors[confidence]


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    limit_process(settings["memory_bytes"])
    finder = Finder()
    serve({"about": about, "faces": finder.faces}, sys.stdin.buffer, sys.stdout.buffer)
