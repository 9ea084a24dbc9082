"""Stretches in which a side's camera or microphone was off, as the source's own log says.

What a file holds there, a dark picture or digital silence, is masked like what was never recorded: no loss sees it, and
the partner's machine does not perceive it.

    N cells of a grid (audio tokens, video latents, frames)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avatar_lab.data.schema import SIDES
from avatar_lab.event_types import Event, EventType
from avatar_lab.events.segments import merge_close, overlap, to_mask
from data_prep.steps.voice import as_array, as_segments

CAMERA, MICROPHONE = "camera_off", "microphone_off"
"""Names of the arrays, after ``<side>.``."""
_KINDS = {CAMERA: EventType.CAMERA_OFF, MICROPHONE: EventType.MICROPHONE_OFF}


def find_outages(logged: Sequence[Event]) -> dict[str, np.ndarray]:
    """Arrays ``<side>.camera_off`` and ``<side>.microphone_off``: disjoint segments (n, 2) in seconds."""
    arrays = {}
    for side in SIDES:
        for name, kind in _KINDS.items():
            spans = [(e.start, e.end) for e in logged if e.side == side and e.type is kind and e.end > e.start]
            arrays[f"{side}.{name}"] = as_array(merge_close(spans, min_gap=2e-6))
    return arrays


def recorded(off_n2: np.ndarray, *, rate: float, count: int, settle: int = 0) -> np.ndarray:
    """True in every cell of ``1 / rate`` seconds, (N,) bool, that no outage ``off_n2`` touches and that lies more than
    ``settle`` cells after one: a causal encoder that ran on through an outage takes as long to forget it."""
    off_N = to_mask(as_segments(off_n2), rate=rate, count=count)
    for _ in range(settle):
        off_N[1:] |= off_N[:-1].copy()
    return ~off_N


def untouched(events: Sequence[Event], outages: dict[str, np.ndarray], name: str) -> list[Event]:
    """``events`` that do not reach into an outage ``name`` of their side: what was found in nothing is not known."""
    off = {side: as_segments(outages[f"{side}.{name}"]) for side in SIDES}
    return [event for event in events if not overlap([(event.start, event.end)], off[event.side])]
