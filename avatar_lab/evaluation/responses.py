"""Does a behaviour follow a cue more often than it follows nothing?

    response = P(onset in [t + .2, t + 1.5) | cue at t) - P(same | no cue at t)

Contingency, not frequency, is what makes a listener (Gratch et al. 2007, "Creating rapport with virtual agents"): an
agent with the right rates at the wrong times scores 0. The first .2 s are left out because nobody reacts that fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatar_lab.evaluation.cues import BLINK, PAUSE, SMILE, CueKind, CueTimes, Times
from avatar_lab.event_types import EventType

WINDOW = (0.2, 1.5)
CURVE_SPAN = (-2.0, 3.0)
CURVE_BIN = 0.2


@dataclass(frozen=True, kw_only=True)
class Response:
    """A pair of cue and behaviours, and the name under which it is counted."""

    name: str
    cue: CueKind
    behaviours: tuple[EventType, ...]

    @property
    def metric(self) -> str:
        return f"{self.name}_response"


RESPONSES = (
    Response(name="nod", cue=PAUSE, behaviours=(EventType.NOD,)),
    Response(name="backchannel", cue=PAUSE, behaviours=(EventType.BACKCHANNEL,)),
    Response(name="smile", cue=SMILE, behaviours=(EventType.SMILE,)),
    Response(
        name="blink",
        cue=BLINK,
        behaviours=(EventType.NOD, EventType.BACKCHANNEL, EventType.SMILE, EventType.BLINK),
    ),
)


@dataclass(frozen=True, kw_only=True)
class ResponseCounts:
    """How often the behaviour followed cues and matched no-cue moments in one conversation."""

    hits: int
    cues: int
    control_hits: int
    controls: int


def count_responses(onsets_N: Times, times: CueTimes) -> ResponseCounts:
    """Cues and controls that are followed by at least one onset within ``WINDOW``."""
    return ResponseCounts(
        hits=int(follows(onsets_N, times.cues_N).sum()),
        cues=len(times.cues_N),
        control_hits=int(follows(onsets_N, times.controls_M).sum()),
        controls=len(times.controls_M),
    )


def follows(onsets_N: Times, times_M: Times) -> NDArray[np.bool_]:
    """For every time, whether an onset falls into the response window after it."""
    onsets_N = np.sort(onsets_N)
    first_M = np.searchsorted(onsets_N, times_M + WINDOW[0])
    return np.searchsorted(onsets_N, times_M + WINDOW[1]) > first_M


def curve_bins() -> Times:
    """Left edges of the event-locked curve, seconds relative to the cue."""
    num = round((CURVE_SPAN[1] - CURVE_SPAN[0]) / CURVE_BIN)
    return np.linspace(*CURVE_SPAN, num, endpoint=False, dtype=np.float64)


def event_locked_counts(onsets_N: Times, times_M: Times) -> NDArray[np.int64]:
    """Onsets per bin of time since the event, summed over events; divide by events and bin width for a rate."""
    edges = np.append(curve_bins(), CURVE_SPAN[1])
    since = (onsets_N[None, :] - times_M[:, None]).ravel()
    return np.histogram(since, bins=edges)[0]
