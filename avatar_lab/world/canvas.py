"""Antialiased painting on a chunk of frames: signed distances become coverage, coverage blends a shaded colour.

Colour planes are kept apart so that every operation is one contiguous float32 pass. Shapes are drawn inside boxes that
enclose them in all frames of the chunk, which is where the speed comes from.

    N frames of a chunk   H, W pixels of a box
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNITS = 64.0
"""Side of the picture in the units of ``Appearance``."""


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels and the coordinates of their centres, in units."""

    rows: slice
    columns: slice
    x_11W: np.ndarray
    y_1H1: np.ndarray


class Canvas:
    """Frames under construction, three float32 planes of shape (N, size, size)."""

    def __init__(self, background_3HW: np.ndarray, num_frames: int) -> None:
        self.size = background_3HW.shape[-1]
        self.pixels_per_unit = np.float32(self.size / UNITS)
        self._planes = [np.repeat(plane[None], num_frames, axis=0) for plane in background_3HW]

    def box(self, left: float, top: float, right: float, bottom: float) -> Box:
        """Pixels that touch the rectangle, clipped to the picture (possibly none)."""
        scale = float(self.pixels_per_unit)
        rows = slice(*(int(np.clip(v, 0, self.size)) for v in (np.floor(top * scale), np.ceil(bottom * scale))))
        columns = slice(*(int(np.clip(v, 0, self.size)) for v in (np.floor(left * scale), np.ceil(right * scale))))
        x = (np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5)) / self.pixels_per_unit
        y = (np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(0.5)) / self.pixels_per_unit
        return Box(rows, columns, x[None, None], y[None, :, None])

    def coverage(self, inside_NHW: np.ndarray) -> np.ndarray:
        """Share of each pixel covered by the region ``inside > 0``, for a distance in units."""
        value = inside_NHW * self.pixels_per_unit
        value += np.float32(0.5)
        return np.clip(value, 0, 1, out=value)

    def paint(
        self, box: Box, alpha_NHW: np.ndarray, colour: tuple[float, float, float], shade_NHW: np.ndarray | None = None
    ) -> None:
        """Blend ``colour`` (times ``shade``) over the box with opacity ``alpha``."""
        for plane, value in zip(self._planes, colour, strict=True):
            view = plane[:, box.rows, box.columns]
            source = np.float32(value) if shade_NHW is None else shade_NHW * np.float32(value)
            view += alpha_NHW * (source - view)

    def darken(self, box: Box, amount_NHW: np.ndarray) -> None:
        """Multiply what is there by ``1 - amount`` (negative amounts brighten)."""
        factor = 1 - amount_NHW
        for plane in self._planes:
            plane[:, box.rows, box.columns] *= factor

    def to_uint8(self, out_NHWC: np.ndarray) -> None:
        """Round into ``out`` (N, size, size, 3)."""
        for channel, plane in enumerate(self._planes):
            plane += np.float32(0.5)
            np.clip(plane, 0, 255, out=plane)
            out_NHWC[..., channel] = plane
