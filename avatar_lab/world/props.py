"""A raised hand in front of the person, and sunlight that falls on the wall behind.

N frames of a chunk   H, W pixels of a box; x, y in units of 1/64 picture
"""

from __future__ import annotations

import numpy as np

from avatar_lab.world.appearance import Appearance
from avatar_lab.world.canvas import UNITS, Box, Canvas
from avatar_lab.world.features import tint

_HAND_X, _UP_Y, _DOWN_Y = 53.5, 45.0, 80.0
_PALM = (3.9, 4.6)
"""Half width and half height."""
_FINGERS = ((-3.0, -0.28, 6.2), (-1.05, -0.09, 7.6), (0.95, 0.07, 7.4), (2.85, 0.24, 6.2))
"""Root across the palm, slant (radians), length; from the index finger on."""
_FINGER_WIDTH = 1.12
_THUMB = ((-3.2, 1.6), (-6.4, -2.0), 1.25)
_WRIST_WIDTH, _SLEEVE_WIDTH = 3.0, 4.7
_SUN = (255.0, 236.0, 190.0)
_BARS = ((0.04, 0.30), (0.35, 0.61), (0.66, 0.92))
"""Panes of a window whose light falls on the wall, as shares of the light's height."""


def sunlight(size: int) -> np.ndarray:
    """Opacity (size, size) of a patch of sunlight through a window, slanting over the upper wall."""
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    x_HW, y_HW = np.meshgrid(grid, grid)
    across_HW = (x_HW - 0.34 * y_HW - 0.02) / 0.92
    along_HW = (y_HW + 0.10 * x_HW) / 0.75
    soft = size / 3.0

    def inside(value_HW: np.ndarray, low: float, high: float) -> np.ndarray:
        return np.clip(np.minimum(value_HW - low, high - value_HW) * soft, 0, 1)

    panes_HW = sum(inside(across_HW, *bar) for bar in _BARS)
    rows_HW = inside(along_HW, -0.2, 0.36) + inside(along_HW, 0.41, 0.9)
    fade_HW = np.clip(1.15 - 0.8 * y_HW, 0, 1)
    return (0.75 * panes_HW * rows_HW * fade_HW).astype(np.float32)


def draw_sunlight(canvas: Canvas, room_N11: np.ndarray) -> None:
    """Let the sun shine on the wall with strength ``room`` in [0, 1]; to be drawn before the person."""
    box = canvas.box(0, 0, UNITS, UNITS)
    canvas.paint(box, room_N11 * sunlight(canvas.size)[None], _SUN)


def draw_hand(canvas: Canvas, hand_N11: np.ndarray, person: Appearance) -> None:
    """An open hand that comes up beside the head, palm to the camera; 0 is out of sight."""
    centre_y = _DOWN_Y + (_UP_Y - _DOWN_Y) * hand_N11
    lowest, highest = float(centre_y.max()), float(centre_y.min())
    box = canvas.box(_HAND_X - 9, highest - 14, UNITS, max(lowest + 8, UNITS))
    dx, dy = box.x_11W - np.float32(_HAND_X), box.y_1H1 - centre_y.astype(np.float32)
    _draw_forearm(canvas, box, dx, dy, person)
    palm = _ellipse(dx, dy, *_PALM)
    shade = np.float32(1.0) - np.float32(0.022) * dy + np.float32(0.012 * person.light) * dx
    fingers = [_finger(dx, dy, *finger) for finger in _FINGERS]
    thumb = _capsule(dx, dy, *_THUMB)
    outline = np.maximum.reduce([palm, thumb, *fingers])
    canvas.darken(box, np.float32(0.25) * canvas.coverage(outline + np.float32(0.9)))
    for part in (*fingers, thumb):
        canvas.paint(box, canvas.coverage(part), tint(person.skin, 0.98), shade)
        seam = np.clip(1 - np.abs(part) * 1.6, 0, 1) * np.clip(-dy - 2.5, 0, 1)
        canvas.darken(box, np.float32(0.16) * seam)
    canvas.paint(box, canvas.coverage(palm), tint(person.skin, 1.02), shade)
    for height, bend in ((-0.6, 0.05), (1.2, -0.07)):
        line = np.float32(0.4) - np.abs(dy - np.float32(height) - np.float32(bend) * dx * dx)
        crease = canvas.coverage(np.minimum(line, palm - 0.8))
        canvas.darken(box, np.float32(0.12) * crease)


def _draw_forearm(canvas: Canvas, box: Box, dx: np.ndarray, dy: np.ndarray, person: Appearance) -> None:
    """Wrist and sleeve below the palm."""
    below = np.clip(dy - 3.0, 0, None)
    wrist = np.minimum(np.float32(_WRIST_WIDTH) - np.abs(dx) + below * np.float32(0.02), dy - np.float32(2.0))
    canvas.paint(box, canvas.coverage(wrist), tint(person.skin, 0.93))
    cuff = dy - np.float32(8.6) - np.float32(0.03) * dx * dx
    sleeve = np.minimum(np.float32(_SLEEVE_WIDTH) - np.abs(dx) + below * np.float32(0.05), cuff)
    shade = np.float32(1.06) - np.float32(0.055) * np.abs(dx) + np.float32(0.01 * person.light) * dx
    canvas.darken(box, np.float32(0.22) * canvas.coverage(sleeve + np.float32(0.9)))
    canvas.paint(box, canvas.coverage(sleeve), person.clothes, shade)
    hem = np.minimum(sleeve, np.float32(1.3) - cuff)
    canvas.paint(box, canvas.coverage(hem), person.collar, shade)


def _finger(dx: np.ndarray, dy: np.ndarray, root: float, slant: float, length: float) -> np.ndarray:
    start = (root, -2.6)
    tip = (root + length * float(np.sin(slant)), -2.6 - length * float(np.cos(slant)))
    return _capsule(dx, dy, start, tip, _FINGER_WIDTH)


def _capsule(
    dx: np.ndarray, dy: np.ndarray, start: tuple[float, float], end: tuple[float, float], width: float
) -> np.ndarray:
    """Distance inside a stroke of half ``width`` from ``start`` to ``end``."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    share = ((dx - start[0]) * along_x + (dy - start[1]) * along_y) / (along_x**2 + along_y**2)
    share = np.clip(share, 0, 1)
    off_x, off_y = dx - start[0] - share * along_x, dy - start[1] - share * along_y
    return np.float32(width) - np.sqrt(off_x * off_x + off_y * off_y)


def _ellipse(dx: np.ndarray, dy: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    """Rounded square of those half axes."""
    across, along = dx / np.float32(half_width), dy / np.float32(half_height)
    radial = (across**4 + along**4) ** np.float32(0.25)
    return (1 - radial) * np.float32(min(half_width, half_height))
