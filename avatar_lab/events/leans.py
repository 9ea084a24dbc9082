"""Leans towards the camera, from the curve of the head's size or distance: slow departures from the usual posture.

P video frames
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar_lab.event_types import Event, EventType
from avatar_lab.events.excursions import excursions, smoothed


@dataclass(frozen=True, kw_only=True)
class LeanRule:
    """Parameters of the detector; levels are on the curve's own scale, -1 far back to 1 close to the camera."""

    on: float = 0.3
    """A lean exceeds the usual posture (the median) by this much ..."""
    off: float = 0.15
    """... and it lasts while it exceeds this."""
    min_seconds: float = 0.8
    """Shorter approaches are nods seen from the front, or noise."""
    smooth_seconds: float = 0.4


def detect_leans(
    lean_P: np.ndarray, fps: float, rule: LeanRule | None = None, *, interaction: str = "", side: str = "a"
) -> list[Event]:
    """LEAN events; ``strength`` is the largest approach over the usual posture."""
    rule = rule or LeanRule()
    if len(lean_P) == 0:
        return []
    posture_P = smoothed(lean_P, frames=round(rule.smooth_seconds * float(fps)))
    found = excursions(
        posture_P - np.median(posture_P), on=rule.on, off=rule.off, min_frames=rule.min_seconds * float(fps)
    )
    return [
        Event(
            interaction=interaction,
            side=side,
            type=EventType.LEAN,
            start=start / float(fps),
            end=end / float(fps),
            strength=strength,
        )
        for start, end, strength in found
    ]
