"""The currency inside the world: what one person's face, head and voice do over time.

Simulation (``simulate``) writes tracks, the renderers (``face``, ``voice``) read them. Nothing here knows of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FACE_CHANNELS = ("yaw", "pitch", "roll", "lean", "jaw", "mouth_round", "smile", "brow", "blink", "gaze_x", "gaze_y")
"""Columns of ``Tracks.face_TP``. Angles in degrees (pitch: positive = chin down, a nod), ``lean`` in [-1, 1] (positive
= towards the camera, the head grows), jaw, mouth_round, smile, brow, blink in [0, 1], gaze in [-1, 1] (0 = at the
partner)."""

SCENE_CHANNELS = ("hand", "room")
"""Columns of ``Tracks.scene_TC``, in [0, 1]: a hand, out of sight (0) or raised beside the head (1); sun on a wall."""

VOICE_CHANNELS = ("voiced", "noise", "f0", "formant1", "formant2", "formant3", "energy")
"""Columns of ``Tracks.voice_RQ``: voiced and noise amplitude in [0, 1]; f0 and formants in Hz; energy in [0, 1]."""

VOICE_RATE = 100
"""Rows of ``voice_RQ`` per second (10 ms frames)."""


@dataclass(frozen=True)
class Tracks:
    """One person's motion and voice parameters over a whole conversation.

    face_TP   (video frames, len(FACE_CHANNELS)) float32 at the layout's frame rate
    voice_RQ  (10 ms frames, len(VOICE_CHANNELS)) float32
    scene_TC  (video frames, len(SCENE_CHANNELS)) float32; ``None``: no hand is seen and nothing changes in the room
    """

    face_TP: np.ndarray
    voice_RQ: np.ndarray
    scene_TC: np.ndarray | None = None
