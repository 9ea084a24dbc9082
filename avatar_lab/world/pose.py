"""Where the head and its features are in the picture, per frame: a sphere turned by yaw and pitch, rolled and scaled.

N frames; all fields are float32 of shape (N, 1, 1), in units of 1/64 picture
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar_lab.world.canvas import Box
from avatar_lab.world.tracks import FACE_CHANNELS

HEAD_X, HEAD_Y = 32.0, 27.5
_NECK = 17.0
"""Distance from the centre of the head to the joint it rolls about."""
_DEPTH = 15.0
"""Radius of the sphere on which the features lie."""


@dataclass(frozen=True)
class Pose:
    """Face channels of a chunk and the placement of the head that follows from them."""

    channels: dict[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    cos: np.ndarray
    sin: np.ndarray

    @classmethod
    def from_tracks(cls, face_NP: np.ndarray) -> Pose:
        channels = {name: face_NP[:, i, None, None].astype(np.float32) for i, name in enumerate(FACE_CHANNELS)}
        for angle in ("yaw", "pitch", "roll"):
            channels[angle] = np.deg2rad(np.clip(channels[angle], -45, 45)).astype(np.float32)
        for name in ("jaw", "mouth_round", "smile", "brow", "blink"):
            channels[name] = np.clip(channels[name], 0, 1)
        for name in ("lean", "gaze_x", "gaze_y"):
            channels[name] = np.clip(channels[name], -1, 1)
        lean, roll, yaw, pitch = (channels[name] for name in ("lean", "roll", "yaw", "pitch"))
        scale = 1 + np.float32(0.17) * lean
        x = HEAD_X + _NECK * np.sin(roll) + 3 * np.sin(yaw)
        y = HEAD_Y + _NECK * (1 - np.cos(roll)) + 2 * lean + 5 * np.sin(pitch)
        return cls(channels, x.astype(np.float32), y.astype(np.float32), scale, np.cos(roll), np.sin(roll))

    def head_coordinates(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates (u to the right, v down) in the rolled, scaled frame of the head, (N, H, W) each."""
        cos, sin = self.cos / self.scale, self.sin / self.scale
        u = (cos * (box.x_11W - self.x)) + (sin * (box.y_1H1 - self.y))
        v = (cos * (box.y_1H1 - self.y)) - (sin * (box.x_11W - self.x))
        return u, v

    def feature(self, u: float, v: float, depth: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Head coordinates of a feature that sits at (u, v) when the head faces the camera; ``depth`` lifts it."""
        radius = _DEPTH + depth
        height = float(np.sqrt(max(radius**2 - u**2 - v**2, 1.0)))
        yaw, pitch = self.channels["yaw"], self.channels["pitch"]
        turned_u = u * np.cos(yaw) + height * np.sin(yaw)
        turned_v = v * np.cos(pitch) + height * np.sin(pitch)
        return turned_u, turned_v

    def bounds(
        self, u: np.ndarray, v: np.ndarray, left: float, top: float, right: float, bottom: float
    ) -> tuple[float, float, float, float]:
        """Rectangle in the picture that encloses head point (u, v) plus margins, in all frames of the chunk."""
        x = self.x + self.scale * (self.cos * u - self.sin * v)
        y = self.y + self.scale * (self.sin * u + self.cos * v)
        spin = float(np.abs(self.sin).max())
        grow = float(self.scale.max())
        extra_x, extra_y = max(top, bottom) * spin, max(left, right) * spin
        return (
            float(x.min()) - grow * (left + extra_x),
            float(y.min()) - grow * (top + extra_y),
            float(x.max()) + grow * (right + extra_x),
            float(y.max()) + grow * (bottom + extra_y),
        )
