"""Smiles from the curve of smile intensity: hysteresis over the person's own resting level.

P video frames
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar_lab.event_types import Event, EventType
from avatar_lab.events.excursions import excursions, smoothed


@dataclass(frozen=True, kw_only=True)
class SmileRule:
    """Parameters of the detector; levels are on the curve's own scale of 0 to 1."""

    rest_percentile: float = 20.0
    """The resting level is this percentile of the curve; people differ in it."""
    on: float = 0.25
    """A smile is where the curve exceeds its resting level by this much ..."""
    off: float = 0.12
    """... and it reaches from where the curve left this level to where it returns to it."""
    min_seconds: float = 0.2
    smooth_seconds: float = 0.12


def detect_smiles(
    smile_P: np.ndarray, fps: float, rule: SmileRule | None = None, *, interaction: str = "", side: str = "a"
) -> list[Event]:
    """SMILE events; ``start`` is the onset, ``strength`` the largest rise over the resting level."""
    rule = rule or SmileRule()
    if len(smile_P) == 0:
        return []
    smooth_P = smoothed(smile_P, frames=round(rule.smooth_seconds * float(fps)))
    rise_P = smooth_P - np.percentile(smooth_P, rule.rest_percentile)
    events = []
    min_frames = rule.min_seconds * float(fps)
    for start, end, strength in excursions(rise_P, on=rule.on, off=rule.off, min_frames=min_frames):
        events.append(
            Event(
                interaction=interaction,
                side=side,
                type=EventType.SMILE,
                start=_onset(rise_P, start, end, rule) / float(fps),
                end=end / float(fps),
                strength=strength,
            )
        )
    return events


def _onset(rise_P: np.ndarray, start: int, end: int, rule: SmileRule) -> float:
    """Frame (fractional) at which the rise would have left zero, extrapolated from its way between the two levels."""

    def crossing(level: float, frame: int) -> float:
        if frame == 0 or rise_P[frame] == rise_P[frame - 1]:
            return float(frame)
        return frame - (rise_P[frame] - level) / (rise_P[frame] - rise_P[frame - 1])

    low = crossing(rule.off, start)
    high = crossing(rule.on, start + int(np.argmax(rise_P[start:end] > rule.on)))
    return max(0.0, low - (high - low) * rule.off / (rule.on - rule.off))
