"""The worker's end of ``face_server.py``: where faces are in pictures, by mediapipe.

R pictures   H, W picture size
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from avatar_lab.mediapipe_process import MEDIAPIPE, require_mediapipe
from data_prep.media.process import MediaProcess


@dataclass(frozen=True, kw_only=True)
class MediapipeFaces:
    """Faces by mediapipe where the data set brings none.

    python      interpreter that has mediapipe; ``None``: this one
    pictures    looked at per person, spread over the recording; one place per person is wanted
    confidence  of a detection to count
    """

    python: str | None = None
    pictures: int = 24
    confidence: float = 0.5
    timeout: float = 120.0
    """Seconds to wait for one answer; the first one loads the models."""
    memory_bytes: int = 16 << 30
    """Address space of the process."""

    def identity(self) -> dict[str, Any]:
        """All that its results depend on, as plain values."""
        return {"mediapipe": MEDIAPIPE, "pictures": self.pictures, "confidence": self.confidence}


class FaceFinder(MediaProcess):
    """Owns one process; a context manager."""

    def __init__(self, faces: MediapipeFaces) -> None:
        self._python = faces.python or sys.executable
        settings = json.dumps({"memory_bytes": faces.memory_bytes})
        super().__init__(self._python, "data_prep.media.face_server", settings, timeout=faces.timeout)
        self._faces = faces
        self._checked = False

    def boxes(self, frames_RHWC: np.ndarray, *, about: str) -> np.ndarray:
        """The largest face of each picture, (R, 4): left, top, width and height in shares of the picture; zeros where
        there is none.

        Raises:
            ValueError: the interpreter has no mediapipe, or another version.
            SkipRecording: the process crashed or did not answer in time.
        """
        if not self._checked:
            require_mediapipe(self, self._python, named_by="faces.python")
            self._checked = True
        count, height, width, _ = frames_RHWC.shape
        request = {
            "op": "faces",
            "frames": count,
            "height": height,
            "width": width,
            "confidence": self._faces.confidence,
        }
        ((_, answer),) = self.ask(request, about=about, payload=np.ascontiguousarray(frames_RHWC).tobytes())
        return np.frombuffer(answer, np.float64).reshape(count, 4)
