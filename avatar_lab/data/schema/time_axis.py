"""What is there at a moment: the same rule for frames of a video and for rows of arrays.

R source frames or rows   P moments
"""

from __future__ import annotations

import numpy as np

TOLERANCE = 2e-3
"""Seconds by which rounded timestamps may lie on the wrong side of a grid point."""
MAX_HOLD = 0.5
"""Seconds for which one source frame may stand before the picture counts as frozen."""


def row_at(seconds_R: np.ndarray, seconds_P: np.ndarray, *, hold: float = MAX_HOLD) -> tuple[np.ndarray, np.ndarray]:
    """Index of the last of ``seconds_R`` (not decreasing) that is not after each of ``seconds_P``, the first where all
    are, and whether there is one that is younger than ``hold`` seconds."""
    shown_P = np.searchsorted(seconds_R, seconds_P + TOLERANCE, side="right") - 1
    index_P = np.clip(shown_P, 0, max(0, len(seconds_R) - 1))
    if not len(seconds_R):
        return index_P, np.zeros(len(seconds_P), bool)
    return index_P, (shown_P >= 0) & (seconds_P - seconds_R[index_P] < hold)
