"""What a metric returns where its input does not determine it: the reason, never a number.

Every function of this package returns ``float | Undefined`` (or a record of numbers ``| Undefined``). Input that does
not determine the metric (too short, constant, not finite, without events, silent, black) is ``Undefined`` and becomes a
row with that status; input that cannot be meant (arrays of unequal lengths or wrong ranks) raises ``ValueError``.

    T frames   D dimensions
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STILL = 1e-9
"""A curve whose standard deviation is below this share of its largest value is constant up to rounding."""


@dataclass(frozen=True)
class Undefined:
    """No number, and why."""

    reason: str


def unfit(curves: Mapping[str, Array], *, min_frames: int, moving: bool = True) -> Undefined | None:
    """Why curves (T,) or (T, D), by their names, determine no metric; ``None`` where they are fit.

    Args:
        min_frames: fewer frames are too short.
        moving: whether a curve that is constant in all dimensions is unfit too.
    """
    for name, curve in curves.items():
        if len(curve) < min_frames:
            return Undefined(f"{name} has {len(curve)} frames; at least {min_frames} are needed")
        if not np.isfinite(curve).all():
            return Undefined(f"{name} is not finite everywhere")
        if moving and still(curve):
            return Undefined(f"{name} is constant")
    return None


def still(curve: Array) -> bool:
    """Whether no dimension of a curve (T,) or (T, D) changes by more than rounding."""
    return bool(np.all(curve.std(axis=0) <= STILL * np.abs(curve).max(axis=0, initial=0.0)))


def require_equal_lengths(**arrays: Array) -> None:
    """Refuse arrays of different shapes.

    Raises:
        ValueError: the shapes differ.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"shapes differ: {shapes}; cut all to the same stretch first")
