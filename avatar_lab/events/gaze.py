"""Looks away from the partner, from curves of gaze direction.

Nobody says where in a recording the partner's face was. People look at it most of the time in conversation (75 % while
listening; Argyle & Cook 1976), so the usual direction, the median, is taken for it.

    P video frames
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar_lab.event_types import Event, EventType
from avatar_lab.events.excursions import excursions, smoothed


@dataclass(frozen=True, kw_only=True)
class GazeRule:
    """Parameters of the detector; levels are on the curves' own scale."""

    on: float = 0.4
    """A look away departs from the usual direction by this much ..."""
    off: float = 0.25
    """... and it lasts while it departs by this."""
    min_seconds: float = 0.2
    """Shorter departures are saccades that return, or noise."""
    smooth_seconds: float = 0.08


def detect_gaze_away(
    gaze_P2: np.ndarray, fps: float, rule: GazeRule | None = None, *, interaction: str = "", side: str = "a"
) -> list[Event]:
    """GAZE_AWAY events from directions (P, 2) or (P, 1); ``strength`` is the largest departure."""
    rule = rule or GazeRule()
    if len(gaze_P2) == 0:
        return []
    frames = round(rule.smooth_seconds * float(fps))
    smooth_P2 = np.stack([smoothed(column_P, frames=frames) for column_P in np.asarray(gaze_P2).T], axis=1)
    away_P = np.linalg.norm(smooth_P2 - np.median(smooth_P2, axis=0), axis=1)
    return [
        Event(
            interaction=interaction,
            side=side,
            type=EventType.GAZE_AWAY,
            start=start / float(fps),
            end=end / float(fps),
            strength=strength,
        )
        for start, end, strength in excursions(
            away_P, on=rule.on, off=rule.off, min_frames=rule.min_seconds * float(fps)
        )
    ]
