"""Eyes, brows, nose, mouth, beard and glasses, each drawn in its own small box.

N frames of a chunk   H, W pixels of a box; u, v head coordinates (units of 1/64 picture, v down)
"""

from __future__ import annotations

import numpy as np

from avatar_lab.world.appearance import Appearance, Colour
from avatar_lab.world.canvas import Canvas
from avatar_lab.world.pose import Pose

_EYE_Y, _BROW_Y, _NOSE_Y, _MOUTH_Y = -1.6, -6.0, 3.4, 8.4
_WHITE: Colour = (246, 244, 240)
_INTERIOR: Colour = (70, 18, 24)
_TONGUE: Colour = (188, 88, 92)
_LASH: Colour = (34, 24, 24)


def tint(colour: Colour, factor: float) -> Colour:
    red, green, blue = colour
    return red * factor, green * factor, blue * factor


def _square(value: np.ndarray) -> np.ndarray:
    return value * value


def draw_eye(canvas: Canvas, pose: Pose, person: Appearance, side: float) -> None:
    """One eye with its lids, brow and glasses ring; ``side`` is -1 or 1."""
    channel = pose.channels
    eye_u, eye_v = pose.feature(side * person.eye_distance, _EYE_Y)
    brow_u, brow_v = pose.feature(side * person.eye_distance, _BROW_Y)
    box = canvas.box(*pose.bounds(eye_u, eye_v, 5.6, 10.5, 5.6, 5.6))
    u, v = pose.head_coordinates(box)
    unit = pose.scale
    foreshortening = np.clip(np.cos(channel["yaw"] + side * np.float32(0.3)) * np.float32(1.04), 0.5, 1)
    dx, dy = u - eye_u, v - eye_v
    p_NHW = dx / (person.eye_width * foreshortening)
    dome = 1 - _square(p_NHW)
    open_up = person.eye_height * (1 + np.float32(0.12) * channel["brow"])
    open_low = np.float32(0.62) * person.eye_height * (1 - np.float32(0.45) * channel["smile"])
    upper = (-open_up + (open_up + np.float32(0.8) * open_low) * channel["blink"]) * dome
    lower = open_low * dome

    socket = np.clip(1 - _square(dx / 4.6) - _square((dy + 0.8) / 3.6), 0, 1)
    canvas.darken(box, np.float32(0.16) * socket)
    white = canvas.coverage(np.minimum(dy - upper, lower - dy) * unit)
    canvas.paint(box, white, _WHITE)
    iris_x = dx - np.float32(1.25) * channel["gaze_x"]
    iris_y = dy + np.float32(0.15) - np.float32(0.8) * channel["gaze_y"]
    distance = np.sqrt(_square(iris_x) + _square(iris_y))
    canvas.paint(box, white * canvas.coverage((np.float32(1.75) - distance) * unit), person.eyes)
    canvas.paint(box, white * canvas.coverage((np.float32(0.85) - distance) * unit), (14, 10, 12))
    glint = np.float32(0.62) - np.sqrt(_square(iris_x - 0.7) + _square(iris_y + 0.75))
    canvas.paint(box, white * canvas.coverage(glint * unit), (255, 255, 255))
    lash = np.minimum(np.float32(0.5) - np.abs(dy - upper + 0.15), (dome + np.float32(0.3)) * 3)
    canvas.paint(box, canvas.coverage(lash * unit), _LASH)

    q_NHW = (u - brow_u) / (person.eye_width * np.float32(1.28) * foreshortening)
    lift = np.float32(2.9) * channel["brow"]
    curve = v - brow_v + lift + person.brow_arch * (1 - _square(q_NHW)) + side * person.brow_slant * q_NHW
    body = person.brow_thickness * (1 - np.float32(0.35) * side * q_NHW)
    brow = np.minimum(body - np.abs(curve), (1 - np.abs(q_NHW)) * 3)
    canvas.paint(box, np.float32(0.9) * canvas.coverage(brow * unit), tint(person.hair, 0.72))
    if person.glasses is not None:
        ring = np.float32(0.5) - np.abs(np.sqrt(_square(dx / foreshortening) + _square((dy + 0.2) * 1.1)) - 4.5)
        canvas.paint(box, canvas.coverage(ring * unit), person.glasses)


def draw_nose(canvas: Canvas, pose: Pose, person: Appearance) -> None:
    """A lit ridge, a shaded flank and the shadow under the tip."""
    tip_u, tip_v = pose.feature(0.0, _NOSE_Y, depth=2.5)
    root_u, root_v = pose.feature(0.0, _NOSE_Y - person.nose_length)
    box = canvas.box(*pose.bounds(tip_u, tip_v, 5.5, 7.5, 5.5, 3.0))
    u, v = pose.head_coordinates(box)
    along = np.clip((v - root_v) / (tip_v - root_v), 0, 1)
    ridge_u = root_u + (tip_u - root_u) * along
    width = np.float32(0.9) + (person.nose_width - np.float32(0.9)) * along
    off = (u - ridge_u) / width
    fade = np.clip((tip_v + 0.8 - v) * 0.8, 0, 1) * np.clip((v - root_v) * 0.4, 0, 1)
    canvas.darken(box, fade * np.clip(1 - _square(off), 0, 1) * (-0.14 + np.float32(0.16 * person.light) * off))
    under = np.clip(1.15 - _square((u - tip_u) / person.nose_width) - _square((v - tip_v - 0.9) / 1.0), 0, 1)
    canvas.darken(box, np.float32(0.34) * under)
    for side in (-1.0, 1.0):
        wing_u = tip_u + side * (person.nose_width * np.float32(0.62))
        nostril = np.clip(1 - _square((u - wing_u) / 0.85) - _square((v - tip_v - 0.75) / 0.6), 0, 1)
        canvas.darken(box, np.float32(0.5) * nostril)


def draw_mouth(canvas: Canvas, pose: Pose, person: Appearance) -> None:
    """Lips around an opening with teeth and tongue; the beard, if any, lies underneath."""
    channel = pose.channels
    jaw, smile, rounding = channel["jaw"], channel["smile"], channel["mouth_round"]
    mouth_u, mouth_v = pose.feature(0.0, _MOUTH_Y)
    box = canvas.box(*pose.bounds(mouth_u, mouth_v, 9.5, 5.5, 9.5, 9.5))
    u, v = pose.head_coordinates(box)
    unit = pose.scale
    turn = np.clip(np.cos(channel["yaw"]), 0.5, 1)
    width = person.mouth_width * (1 + np.float32(0.32) * smile - np.float32(0.42) * rounding) * turn
    dx, dy = u - mouth_u, v - mouth_v
    p_NHW = dx / width
    p2_NHW = _square(p_NHW)
    dome = 1 - p2_NHW
    if person.beard is not None:
        moustache = np.clip(1.2 - _square(dx / 7.2) - _square((dy + 1.6) / 1.9), 0, 1)
        canvas.paint(box, np.float32(person.beard) * moustache, tint(person.hair, 0.9))
    crease = np.clip(1 - np.abs(np.abs(dx) - width - 1.4 + dy * 0.35) * 0.9, 0, 1)
    crease *= np.clip(1.6 - np.abs(dy + 1.2) * 0.4, 0, 1)
    canvas.darken(box, np.float32(0.17) * smile * crease)
    chin = np.clip(1 - _square(dx / 4.0) - _square((dy - 4.2 - 5 * jaw) / 1.3), 0, 1)
    canvas.darken(box, np.float32(0.12) * chin)

    middle = np.float32(3.4) * smile * (np.float32(0.45) - p2_NHW) - np.float32(0.1)
    part = jaw * (1 - np.float32(0.25) * rounding)
    inner_up = middle - (np.float32(0.9) * part + np.float32(0.35) * smile) * dome
    inner_low = middle + (np.float32(5.6) * part + np.float32(0.75) * smile) * dome
    thick = person.lip_thickness * (1 + np.float32(0.35) * rounding) * (1 - np.float32(0.25) * smile)
    bow = np.sqrt(np.clip(dome, 0, 1))
    outer_up = inner_up - thick * np.float32(0.95) * bow
    outer_low = inner_low + thick * np.float32(1.3) * bow
    ends = (1 - np.abs(p_NHW)) * width
    lips = np.minimum(np.minimum(dy - outer_up, outer_low - dy), ends)
    shade = np.float32(0.86) + np.float32(0.1) * np.clip(dy - middle, -1.5, 2.0)
    canvas.paint(box, canvas.coverage(lips * unit), person.lips, shade)
    opening = np.minimum(np.minimum(dy - inner_up, inner_low - dy), ends)
    opened = canvas.coverage((opening - np.float32(0.1)) * unit)
    canvas.paint(box, opened, _INTERIOR)
    tongue = dy - inner_low + np.float32(2.6) * part * (1 - _square(dx / 3.6)) * turn
    canvas.paint(box, opened * canvas.coverage(tongue * unit), _TONGUE)
    teeth = inner_up + np.float32(0.45) + np.float32(1.3) * np.clip(part * 2 + smile, 0, 1) * dome - dy
    canvas.paint(box, opened * canvas.coverage(teeth * unit), (240, 236, 228))
    seam = np.minimum(np.float32(0.42) - np.abs(dy - middle), ends + np.float32(0.4))
    canvas.paint(box, canvas.coverage(seam * unit) * np.clip(1 - part * 6 - smile * 2, 0, 1), tint(person.lips, 0.45))
    corner = np.clip(1 - _square((np.abs(dx) - width) / 0.9) - _square((dy - middle) / 0.9), 0, 1)
    canvas.darken(box, np.float32(0.3) * corner)
