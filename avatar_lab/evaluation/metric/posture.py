"""What the face and body do while the avatar speaks, and while it listens.

Speaking is the avatar's own speech; listening is the user's where the avatar is silent. Representation: events and
curves read from pixels. Rates and shares are compared with people's (``human.py``: 26 blinks a minute talking, 17 at
rest; gaze at the partner 41 % talking, 75 % listening), so neither direction is better.

    N onsets   P video frames   M cues   K matched moments without
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar_lab.evaluation.metric.undefined import Array, Undefined, unfit
from avatar_lab.events.segments import Segment, merge_close, overlap, total

MIN_SECONDS = 5.0
"""Less speaking or listening gives no rate."""
BEFORE, AFTER = (-1.0, 0.0), (0.5, 2.0)
"""Seconds around a cue between which a lean changes."""


@dataclass(frozen=True, kw_only=True)
class ByRole:
    """One figure while speaking and one while listening."""

    speaking: float | Undefined
    listening: float | Undefined


@dataclass(frozen=True, kw_only=True)
class Role:
    """When the avatar speaks and when it listens: sorted, disjoint spans in seconds."""

    speaking: list[Segment]
    listening: list[Segment]


def roles(own_speech: Sequence[Segment], user_speech: Sequence[Segment], *, seconds: float) -> Role:
    """Roles in a conversation of ``seconds``; silence of both, and what both speak, is no listening."""
    own, user = (
        merge_close([(s, min(e, seconds)) for s, e in spans if s < seconds], min_gap=0.0)
        for spans in (own_speech, user_speech)
    )
    edges = [0.0, *(time for span in own for time in span), seconds]
    silent = [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]
    return Role(speaking=own, listening=overlap(user, silent))


def rate_by_role(onsets_N: Array, role: Role) -> ByRole:
    """Events per minute in either role; undefined below five seconds of it."""
    return ByRole(speaking=_rate(onsets_N, role.speaking), listening=_rate(onsets_N, role.listening))


def share_by_role(spans: Sequence[Segment], role: Role, *, absent: bool = False) -> ByRole:
    """Share of the time in either role that ``spans`` cover, or, ``absent``, that they do not: of looks away, gaze at
    the partner. Undefined below five seconds of a role."""
    return ByRole(
        speaking=_share(spans, role.speaking, absent=absent), listening=_share(spans, role.listening, absent=absent)
    )


def lean_response(lean_P: Array, cues_M: Array, controls_K: Array, *, rate: float) -> float | Undefined:
    """How much further the avatar leans in after cues than after matched moments, in the curve's own unit.

    The mean over cues of (lean .5 to 2 s after) - (lean in the second before), minus the same at the controls; higher
    is better where people lean in. Undefined: no cue or control whose windows lie inside the curve, values that are not
    finite, a curve that is constant.
    """
    if why := unfit({"lean": lean_P}, min_frames=2):
        return why
    change = [_changes(lean_P, times, rate) for times in (cues_M, controls_K)]
    for name, found in zip(("cue", "matched moment"), change, strict=True):
        if len(found) == 0:
            return Undefined(f"no {name} inside the recording")
    return float(change[0].mean() - change[1].mean())


def _changes(lean_P: Array, times_M: Array, rate: float) -> Array:
    """Lean after minus lean before each time whose windows lie inside the curve."""
    found = []
    for time in times_M.tolist():
        (start, middle), (later, end) = (tuple(round((time + t) * rate) for t in span) for span in (BEFORE, AFTER))
        if start >= 0 and end <= len(lean_P):
            found.append(lean_P[later:end].mean() - lean_P[start:middle].mean())
    return np.array(found, dtype=np.float64)


def _rate(onsets_N: Array, spans: list[Segment]) -> float | Undefined:
    seconds = total(spans)
    if seconds < MIN_SECONDS:
        return Undefined(f"{seconds:.1f} s are too short for a rate")
    return float(sum(((onsets_N >= start) & (onsets_N < end)).sum() for start, end in spans) / seconds * 60)


def _share(spans: Sequence[Segment], within: list[Segment], *, absent: bool) -> float | Undefined:
    seconds = total(within)
    if seconds < MIN_SECONDS:
        return Undefined(f"{seconds:.1f} s are too short for a share")
    share = total(overlap(merge_close(list(spans), min_gap=0.0), within)) / seconds
    return 1 - share if absent else share
