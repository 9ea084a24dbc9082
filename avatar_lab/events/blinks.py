"""Blinks from the curve of eyelid closure: closures that reopen within half a second.

P video frames
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar_lab.event_types import Event, EventType
from avatar_lab.events.segments import runs


@dataclass(frozen=True, kw_only=True)
class BlinkRule:
    """Parameters of the detector; levels are on the curve's own scale, 0 open to 1 closed."""

    rest_percentile: float = 50.0
    on: float = 0.3
    """Rise over the resting level that counts as closed."""
    max_seconds: float = 0.5
    """Longer closures are resting eyes, not blinks."""


def detect_blinks(
    blink_P: np.ndarray, fps: float, rule: BlinkRule | None = None, *, interaction: str = "", side: str = "a"
) -> list[Event]:
    """BLINK events; ``strength`` is the largest closure over the resting level."""
    rule = rule or BlinkRule()
    if len(blink_P) == 0:
        return []
    closure_P = np.asarray(blink_P, np.float64)
    closure_P = closure_P - np.percentile(closure_P, rule.rest_percentile)
    return [
        Event(
            interaction=interaction,
            side=side,
            type=EventType.BLINK,
            start=start / float(fps),
            end=end / float(fps),
            strength=float(closure_P[start:end].max()),
        )
        for start, end in runs(closure_P > rule.on)
        if (end - start) / float(fps) <= rule.max_seconds
    ]
