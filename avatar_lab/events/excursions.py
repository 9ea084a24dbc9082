"""Departures of a curve from its resting level, by two thresholds; the common part of smiles, leans and looks away.

P video frames
"""

from __future__ import annotations

import numpy as np

from avatar_lab.events.segments import runs


def smoothed(curve_P: np.ndarray, *, frames: int) -> np.ndarray:
    """Moving average over ``frames``, (P,) float64; the edges are continued."""
    width = max(1, frames)
    padded = np.pad(np.asarray(curve_P, np.float64), (width // 2, (width - 1) // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


def excursions(rise_P: np.ndarray, *, on: float, off: float, min_frames: float) -> list[tuple[int, int, float]]:
    """Start, exclusive end and largest value of every stretch above ``off`` that exceeds ``on``, and lasts."""
    found = []
    for start, end in runs(rise_P > off).tolist():
        strength = float(rise_P[start:end].max())
        if strength > on and end - start >= min_frames:
            found.append((start, end, strength))
    return found
