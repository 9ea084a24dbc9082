"""A person on camera: head and shoulders driven by the face channels, rendered antialiased in numpy.

Back to front: room, hair behind the head, clothes and neck, head with ears, nose, mouth, eyes, hair in front. Shapes
are signed distances in head coordinates (``pose``); frames are painted in chunks so that arrays stay in cache.

    T frames   N frames of a chunk   P face channels   C scene channels   H, W pixels
"""

from __future__ import annotations

import numpy as np

from avatar_lab.world.appearance import Appearance
from avatar_lab.world.canvas import UNITS, Canvas
from avatar_lab.world.features import draw_eye, draw_mouth, draw_nose, tint
from avatar_lab.world.pose import Pose
from avatar_lab.world.props import draw_hand, draw_sunlight
from avatar_lab.world.tracks import FACE_CHANNELS, SCENE_CHANNELS

_CHUNK = 16
_SHOULDER_Y = 50.5


def render_face(
    appearance: Appearance, face_TP: np.ndarray, size: int = 64, scene_TC: np.ndarray | None = None
) -> np.ndarray:
    """Frames (T, size, size, 3) uint8 of ``appearance`` moving as ``face_TP`` says, with hand and room by ``scene_TC``.

    Values outside a channel's range are clipped; every frame depends on its own row only.

    Raises:
        ValueError: ``face_TP`` does not have one column per face channel, or holds NaN or infinity, or ``scene_TC``
            does not fit it.
    """
    if face_TP.ndim != 2 or face_TP.shape[1] != len(FACE_CHANNELS):
        raise ValueError(
            f"face tracks have shape {face_TP.shape}; expected (frames, {len(FACE_CHANNELS)}), columns {FACE_CHANNELS}"
        )
    if not np.isfinite(face_TP).all():
        raise ValueError("face tracks hold NaN or infinity; repair the simulation that wrote them")
    if scene_TC is not None and scene_TC.shape != (len(face_TP), len(SCENE_CHANNELS)):
        raise ValueError(f"scene tracks have shape {scene_TC.shape}; expected {(len(face_TP), len(SCENE_CHANNELS))}")
    background_3HW = _room(appearance, size)
    frames = np.empty((len(face_TP), size, size, 3), np.uint8)
    for start in range(0, len(face_TP), _CHUNK):
        pose = Pose.from_tracks(face_TP[start : start + _CHUNK])
        canvas = Canvas(background_3HW, len(pose.x))
        hand_N11, room_N11 = _scene(scene_TC, start)
        if room_N11 is not None:
            draw_sunlight(canvas, room_N11)
        _draw_hair_behind(canvas, pose, appearance)
        _draw_body(canvas, pose, appearance)
        _draw_head(canvas, pose, appearance)
        if hand_N11 is not None:
            draw_hand(canvas, hand_N11, appearance)
        canvas.to_uint8(frames[start : start + _CHUNK])
    return frames


def _scene(scene_TC: np.ndarray | None, start: int) -> list[np.ndarray | None]:
    """Each scene channel of a chunk, (N, 1, 1); ``None`` where it is at rest throughout."""
    if scene_TC is None:
        return [None] * len(SCENE_CHANNELS)
    columns = np.clip(scene_TC[start : start + _CHUNK].T, 0, 1).astype(np.float32)
    return [column[:, None, None] if column.any() else None for column in columns]


def _room(person: Appearance, size: int) -> np.ndarray:
    """Wall (3, size, size) float32: a vertical gradient with a soft pool of light behind the person."""
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    x_HW, y_HW = np.meshgrid(grid, grid)
    pool = 1 + 0.10 * np.clip(1 - (x_HW - 0.5 - 0.25 * person.light) ** 2 * 5 - (y_HW - 0.3) ** 2 * 4, 0, 1)
    planes = [top + (bottom - top) * y_HW for top, bottom in zip(person.wall_top, person.wall_bottom, strict=True)]
    return np.clip(np.stack(planes) * pool, 0, 255).astype(np.float32)


def _draw_hair_behind(canvas: Canvas, pose: Pose, person: Appearance) -> None:
    if person.hair_volume is None:
        return
    top = person.head_height + person.hair_volume + 1
    if person.bun is not None:
        bun_v = -person.head_height - person.hair_volume - person.bun * 0.35 + 4 * np.sin(pose.channels["pitch"])
        zero = np.zeros_like(pose.x)
        box = canvas.box(*pose.bounds(zero, bun_v, person.bun + 1, person.bun + 1, person.bun + 1, person.bun + 1))
        u, v = pose.head_coordinates(box)
        distance = np.sqrt(u * u + (v - bun_v) ** 2)
        shade = 1 - np.float32(0.04) * (v - bun_v)
        canvas.paint(box, canvas.coverage((person.bun - distance) * pose.scale), tint(person.hair, 0.9), shade)
    length = 3 + 19 * person.hair_length
    half = person.head_width + 0.9 * person.hair_volume
    centre = np.zeros_like(pose.x)
    box = canvas.box(*pose.bounds(centre, centre, half + 3, top, half + 3, length + 2))
    u, v = pose.head_coordinates(box)
    flare = half + np.float32(1.6 * person.hair_length) * np.clip(v / 16, -1, 1.2)
    bend = np.square(np.square(u / half))  # powers of negative numbers take 300 times as long
    hem = length - np.float32(2.5 + 2 * person.hair_length) * bend
    inside = np.minimum(flare - np.sqrt(u * u + (np.minimum(v, 0) * (half / top)) ** 2), hem - v)
    shade = np.float32(0.72) - np.float32(0.008) * v
    canvas.paint(box, canvas.coverage(inside * pose.scale), person.hair, shade)


def _draw_body(canvas: Canvas, pose: Pose, person: Appearance) -> None:
    """Shoulders grow and sink when leaning in, as under perspective."""
    box = canvas.box(0, 36, UNITS, UNITS)
    lean = pose.channels["lean"]
    scale = 1 + np.float32(0.13) * lean
    centre_x = np.float32(32) + np.float32(0.15) * (pose.x - 32)
    dx = (box.x_11W - centre_x) / scale
    dy = (box.y_1H1 - 32) / scale - (_SHOULDER_Y - 32)
    slope = (dx / np.float32(person.shoulder_width)) ** 2
    edge = np.float32(7.0) * slope + np.float32(9.0) * slope**4
    hem = np.float32(max(1.5, person.neckline * 0.9)) - np.float32(0.07) * dx * dx
    neck = np.minimum(np.float32(6.0) - np.abs(dx) + np.clip(dy + 3, 0, None) * np.float32(0.25), hem - dy)
    skin_shade = np.float32(0.80) + np.float32(0.02) * np.clip(dy, -8, 6) + np.float32(0.018 * person.light) * dx
    shade = np.float32(1.02) - np.float32(0.010) * dy - np.float32(0.16) * slope + np.float32(0.006 * person.light) * dx
    if person.stripes is not None:
        shade = shade * (
            1 - np.float32(person.stripes) * np.clip(np.sin((dy - edge * 0.5) * np.float32(1.6)) * 3, -1, 1)
        )
    canvas.paint(box, canvas.coverage((dy - edge + 1.5) * scale), person.clothes, shade)
    opening = 1 - np.sqrt(
        (dx / np.float32(7.6)) ** 2 + (np.clip(dy - 0.5, -6, None) / np.float32(person.neckline)) ** 2
    )
    top = canvas.coverage((dy - edge + 1.5) * scale)
    canvas.paint(box, canvas.coverage((opening * 6 + 1.4) * scale) * top, person.collar, shade)
    canvas.paint(box, canvas.coverage(opening * 6 * scale) * top, person.skin, skin_shade)
    canvas.paint(box, canvas.coverage(neck * scale), person.skin, skin_shade)


def _draw_head(canvas: Canvas, pose: Pose, person: Appearance) -> None:
    channel = pose.channels
    half, tall = np.float32(person.head_width), np.float32(person.head_height)
    volume = 0.0 if person.hair_volume is None else person.hair_volume
    centre = np.zeros_like(pose.x)
    margin = person.head_width + max(volume, 2.0) + 1.5
    box = canvas.box(
        *pose.bounds(centre, centre, margin, person.head_height + volume + 1.5, margin, person.head_height + 7.5)
    )
    u, v = pose.head_coordinates(box)
    unit = pose.scale
    pitch, yaw = np.sin(channel["pitch"]), np.sin(channel["yaw"])
    down = np.clip(v, 0, None)
    chin = tall * (1 + np.float32(0.10) * pitch) + np.float32(2.6) * channel["jaw"]
    cheeks = half * (1 + np.float32(0.03) * channel["smile"]) - np.float32(person.jaw_taper * 6) * (down / chin) ** 2
    across = (u - np.float32(2.0) * yaw * down / chin) / cheeks
    along = v / np.where(v > 0, chin, tall)
    radial = np.sqrt(across * across + along * along)
    radial -= np.float32(0.05) * np.clip(across * across * along * along * 4, 0, 1)  # fuller than an ellipse
    face = (1 - radial) * np.float32(13.5)

    contact = np.clip(1 - np.abs(radial - 1) * 5, 0, 1) * np.clip(v * np.float32(0.12), 0, 1)
    canvas.darken(box, np.float32(0.22) * contact)
    for side in (-1.0, 1.0):
        ear = 1 - np.sqrt(
            ((u - side * (half - np.float32(0.2)) + yaw * 3) / 2.1) ** 2 + ((v - 0.8 + 3 * pitch) / 3.4) ** 2
        )
        ear_shade = (
            np.float32(0.84) + np.float32(0.05 * person.light * side) - np.clip(ear - 0.35, 0, 1) * np.float32(0.3)
        )
        canvas.paint(box, canvas.coverage(ear * np.float32(2.4) * unit), person.skin, ear_shade)

    shade = np.float32(1.08) - np.float32(0.17) * radial * radial - np.float32(0.045) * along
    shade += np.float32(0.075 * person.light) * across
    skin = canvas.coverage(face * unit)
    canvas.paint(box, skin, person.skin, shade)
    for side in (-1.0, 1.0):
        cheek_u, cheek_v = pose.feature(side * 7.0, 4.2)
        blush = np.clip(1 - ((u - cheek_u) / 4.2) ** 2 - ((v - cheek_v + channel["smile"]) / 3.2) ** 2, 0, 1)
        canvas.paint(box, blush * skin * (np.float32(0.10) + np.float32(0.14) * channel["smile"]), (226, 92, 84))
    if person.beard is not None:
        _, beard_v = pose.feature(0.0, 7.2)
        field = v - beard_v - np.float32(3.4) + np.float32(0.068) * (u - np.float32(8) * yaw) ** 2
        mask = np.clip(field * np.float32(0.55) + 0.3, 0, 1) * skin
        canvas.paint(box, np.float32(person.beard) * mask, tint(person.hair, 0.9), shade)
    draw_nose(canvas, pose, person)
    draw_mouth(canvas, pose, person)
    for side in (-1.0, 1.0):
        draw_eye(canvas, pose, person, side)
    if person.glasses is not None:
        _, bridge_v = pose.feature(0.0, -2.2)
        bridge_u, _ = pose.feature(0.0, -2.2, depth=1.0)
        bar = np.minimum(np.float32(0.45) - np.abs(v - bridge_v), np.float32(1.5) - np.abs(u - bridge_u))
        canvas.paint(box, canvas.coverage(bar * unit), person.glasses)
    if person.hair_volume is None:
        return
    # Hair in front: inside the cap, above a hairline that follows the forehead as the head turns.
    _, line_v = pose.feature(0.0, -person.hairline)
    cap_u = u / (half + np.float32(0.55 * volume))
    cap = (1 - np.sqrt(cap_u * cap_u + (v / (tall + np.float32(volume))) ** 2)) * np.float32(14.5)
    swing = u - np.float32(9) * yaw
    # temples: the hairline drops steeply at the sides of the face
    side_drop = np.clip(np.abs(swing) - np.float32(8.0), 0, None) * np.float32(1.6 + 3.0 * person.hair_length)
    line = line_v + np.float32(person.hair_curve) * swing * swing + np.float32(person.hair_slant) * swing + side_drop
    limit = np.float32(0.5 + 7 * person.hair_length)
    front = np.minimum(np.minimum(cap, line - v), limit - v)
    gloss = np.float32(0.16) * np.clip(
        1 - ((v + tall * np.float32(0.72) - u * np.float32(0.2 * person.light)) / 3.5) ** 2, 0, 1
    )
    hair_shade = np.float32(0.92) + gloss + np.float32(0.05 * person.light) * cap_u
    canvas.paint(box, canvas.coverage(front * unit), person.hair, hair_shade)
