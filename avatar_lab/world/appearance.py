"""Who a procedural person is: every number that stays constant while the face moves.

Lengths are in units of 1/64 of the picture's side, colours are linear mixes of RGB in [0, 255]. Geometry that a reader
of motion depends on (head size, height of eyes and mouth) varies little between people, colour and shape vary a lot.
Held-out people are people sampled from other seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

_SKIN = (
    (255, 224, 203),
    (246, 208, 178),
    (232, 188, 152),
    (212, 160, 118),
    (180, 126, 86),
    (142, 94, 62),
    (104, 68, 46),
)
_HAIR = (
    (28, 24, 26),
    (52, 36, 28),
    (88, 58, 38),
    (128, 84, 50),
    (180, 134, 76),
    (222, 190, 128),
    (158, 66, 34),
    (158, 156, 156),
)
_EYES = ((70, 44, 26), (96, 66, 36), (62, 96, 132), (92, 132, 158), (74, 108, 66), (98, 104, 108))
_CLOTHES = (
    (44, 62, 92),
    (134, 46, 52),
    (60, 96, 78),
    (222, 214, 200),
    (58, 58, 64),
    (196, 146, 70),
    (104, 80, 128),
    (86, 136, 168),
    (210, 122, 110),
    (120, 132, 92),
)
_WALLS = (
    (196, 212, 224),
    (226, 214, 196),
    (178, 196, 180),
    (206, 194, 212),
    (150, 166, 186),
    (222, 200, 190),
    (120, 138, 146),
    (190, 176, 150),
)


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """Constant parameters of one person and of the room behind."""

    skin: Colour
    lips: Colour
    hair: Colour
    eyes: Colour
    clothes: Colour
    collar: Colour
    wall_top: Colour
    wall_bottom: Colour
    head_width: float
    head_height: float
    jaw_taper: float
    """How much the face narrows towards the chin."""
    hair_volume: float | None
    """Thickness of the hair above the skull; None for a bald head."""
    hair_length: float
    """0 = above the ears, 1 = on the shoulders."""
    hairline: float
    """Height of the hair's lower edge on the forehead, above the centre of the head."""
    hair_curve: float
    hair_slant: float
    """Parting: the hairline rises to one side."""
    bun: float | None
    brow_thickness: float
    brow_arch: float
    brow_slant: float
    eye_width: float
    eye_height: float
    eye_distance: float
    nose_width: float
    nose_length: float
    mouth_width: float
    lip_thickness: float
    beard: float | None
    """Opacity of a beard; None without."""
    glasses: Colour | None
    neckline: float
    """Depth of the neck opening of the clothes."""
    stripes: float | None
    """Contrast of horizontal stripes on the clothes; None for plain ones."""
    shoulder_width: float
    light: float
    """Side the light comes from, in [-1, 1]."""

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Appearance:
        """A random person, fully determined by ``rng``."""
        skin = _mix(rng, _SKIN)
        wall = _mix(rng, _WALLS) * rng.uniform(0.75, 1.05)
        clothes = _pick(rng, _CLOTHES) * rng.uniform(0.85, 1.12)
        hair = _pick(rng, _HAIR) * rng.uniform(0.85, 1.15)
        long_haired = rng.random() < 0.45
        bald = not long_haired and rng.random() < 0.12
        bearded = not long_haired and rng.random() < 0.35
        return cls(
            skin=_colour(skin),
            lips=_colour(skin * 0.45 + np.array((178, 66, 72)) * rng.uniform(0.40, 0.58)),
            hair=_colour(hair),
            eyes=_colour(_pick(rng, _EYES)),
            clothes=_colour(clothes),
            collar=_colour(_pick(rng, _CLOTHES) if rng.random() < 0.4 else clothes * 0.82),
            wall_top=_colour(wall * 1.06),
            wall_bottom=_colour(wall * rng.uniform(0.72, 0.92)),
            head_width=rng.uniform(12.0, 13.2),
            head_height=rng.uniform(15.6, 16.4),
            jaw_taper=rng.uniform(0.08, 0.34),
            hair_volume=None if bald else rng.uniform(1.0, 3.2),
            hair_length=rng.uniform(0.55, 1.0) if long_haired else rng.uniform(0.0, 0.2),
            hairline=rng.uniform(8.2, 10.6),
            hair_curve=rng.uniform(-0.02, 0.075),
            hair_slant=rng.uniform(-0.28, 0.28),
            bun=rng.uniform(3.2, 4.8) if long_haired and rng.random() < 0.25 else None,
            brow_thickness=rng.uniform(0.55, 1.0),
            brow_arch=rng.uniform(0.7, 1.5),
            brow_slant=rng.uniform(-0.5, 0.5),
            eye_width=rng.uniform(2.9, 3.5),
            eye_height=rng.uniform(1.9, 2.3),
            eye_distance=rng.uniform(5.1, 5.8),
            nose_width=rng.uniform(1.7, 2.7),
            nose_length=rng.uniform(4.2, 5.2),
            mouth_width=rng.uniform(4.7, 5.6),
            lip_thickness=rng.uniform(0.85, 1.35),
            beard=rng.uniform(0.3, 0.85) if bearded else None,
            glasses=_colour(rng.choice([20.0, 60.0, 110.0]) * np.array((1.0, 0.85, 0.75)))
            if rng.random() < 0.2
            else None,
            neckline=rng.uniform(2.5, 7.5),
            stripes=rng.uniform(0.08, 0.2) if rng.random() < 0.25 else None,
            shoulder_width=rng.uniform(22.5, 25.5),
            light=rng.uniform(-1.0, 1.0),
        )


def _pick(rng: np.random.Generator, palette: tuple[Colour, ...]) -> np.ndarray:
    return np.array(palette[rng.integers(len(palette))], dtype=float)


def _mix(rng: np.random.Generator, palette: tuple[Colour, ...]) -> np.ndarray:
    """A colour between two neighbours of the palette."""
    position = rng.uniform(0, len(palette) - 1)
    left = int(position)
    share = position - left
    return np.array(palette[left]) * (1 - share) + np.array(palette[left + 1]) * share


def _frame_colour(rng: np.random.Generator) -> Colour:
    return _colour(rng.choice([20.0, 60.0, 110.0]) * np.array((1.0, 0.85, 0.75)))


def _colour(rgb: np.ndarray) -> Colour:
    red, green, blue = np.clip(rgb, 8, 250)
    return float(red), float(green), float(blue)
