"""The plugin's end of ``landmark_server.py``: the landmarks of a video, asked for piece by piece.

P video frames   R frames of a piece   L landmarks   H, W, C picture
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avatar_lab.evaluation.metric.undefined import Array
from avatar_lab.evaluation.plugin.landmark_server import LANDMARKS
from avatar_lab.served_process import ServedProcess
from avatar_lab.serving import Refusal

PIECE_BYTES = 4 << 20
"""Of pictures that are sent at once."""
MEMORY_BYTES = 16 << 30
"""Address space of the process."""
TIMEOUT = 120.0
"""Seconds to wait for one piece; the first one loads the models."""


class LandmarkFinder(ServedProcess):
    """Owns one process; a context manager.

    Args:
        python: interpreter that has mediapipe.
    """

    def __init__(self, python: str) -> None:
        super().__init__(python, "avatar_lab.evaluation.plugin.landmark_server", str(MEMORY_BYTES), timeout=TIMEOUT)

    def find(self, video_PHWC: NDArray[np.uint8]) -> Array:
        """Landmarks (P, L, 2) of the face that is followed through a video, (x, y) in pixels; not a number where there
        is none. A process that does not answer is replaced once.

        Raises:
            Refusal: the second one did not answer either.
        """
        try:
            return self._follow(video_PHWC)
        except Refusal:  # memory may have been short; what the process knew of the video is lost with it
            return self._follow(video_PHWC)

    def _follow(self, video_PHWC: NDArray[np.uint8]) -> Array:
        count, height, width, channels = video_PHWC.shape
        step = max(1, PIECE_BYTES // (height * width * channels))
        pieces = [self._piece(video_PHWC[start : start + step], first=start == 0) for start in range(0, count, step)]
        return np.concatenate([np.zeros((0, LANDMARKS, 2)), *pieces])

    def _piece(self, frames_RHWC: NDArray[np.uint8], *, first: bool) -> Array:
        count, height, width, _ = frames_RHWC.shape
        request = {"op": "landmarks", "first": first, "frames": count, "height": height, "width": width}
        payload = np.ascontiguousarray(frames_RHWC).tobytes()
        ((_, answer),) = self.ask(request, about="landmarks", payload=payload)
        return np.frombuffer(answer, np.float32).reshape(count, LANDMARKS, 2).astype(np.float64)
