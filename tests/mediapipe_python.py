"""An interpreter that has mediapipe, for tests of what is found with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from avatar_lab.mediapipe_process import MEDIAPIPE

NAMED_BY = ("FACES_PYTHON", "AVATAR_LAB_MEDIAPIPE")


def mediapipe_python() -> str:
    """Its path; without one the test is skipped."""
    named = [os.environ.get(variable, "") for variable in NAMED_BY]
    beside = str(Path(sys.prefix) / "faces" / "bin" / "python")
    for candidate in filter(os.path.isfile, [*named, beside, sys.executable]):
        done = subprocess.run([candidate, "-c", "import mediapipe; print(mediapipe.__version__)"], capture_output=True)
        if done.stdout.decode().strip() == MEDIAPIPE:
            return candidate
    pytest.skip(f"no mediapipe {MEDIAPIPE} here: name an interpreter that has it in {' or '.join(NAMED_BY)}")
