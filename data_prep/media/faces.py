"""The worker's end of ``face_server.py``: where faces are in pictures, by mediapipe.

R pictures   H, W picture size
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.manifest import SkipRecording
from data_prep.media.process import ServedProcess

MEDIAPIPE = "0.10.21"
"""The one version whose results are known; it carries its models."""


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


class FaceFinder(ServedProcess):
    """Owns one process; a context manager."""

    def __init__(self, faces: MediapipeFaces) -> None:
        program = ["-m", "data_prep.media.face_server", json.dumps({"memory_bytes": faces.memory_bytes})]
        super().__init__([faces.python or sys.executable, "-P", *program], timeout=faces.timeout)
        self._faces = faces
        self._checked = False

    def boxes(self, frames_RHWC: np.ndarray, *, about: str) -> np.ndarray:
        """The largest face of each picture, (R, 4): left, top, width and height in shares of the picture; zeros where
        there is none.

        Raises:
            ValueError: the interpreter has no mediapipe, or another version.
            SkipRecording: the process crashed or did not answer in time.
        """
        self._check()
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

    def _check(self) -> None:
        if self._checked:
            return
        python = self._faces.python or sys.executable
        advice = (
            f"make an interpreter of its own for it, since it needs numpy below 2: python -m venv FOLDER && "
            f"FOLDER/bin/pip install mediapipe=={MEDIAPIPE}, and set faces.python=FOLDER/bin/python"
        )
        try:
            ((header, _),) = self.ask({"op": "about"}, about="mediapipe")
        except (SkipRecording, OSError) as error:
            raise ValueError(f"faces.python={python} cannot be started ({error}): {advice}") from error
        if header["mediapipe"] != MEDIAPIPE:
            found = header["mediapipe"] or f"none ({header['why']})"
            raise ValueError(f"faces need mediapipe {MEDIAPIPE}; {python} has {found}: {advice}")
        self._checked = True
