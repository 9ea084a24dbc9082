"""Turn-taking statistics of two speech activities, by rules that need no notion of a turn.

Nguyen et al. 2023 (dGSLM, arXiv:2203.16502): inter-pausal units are speech bounded by at least 200 ms of own silence;
an *overlap* is where units of both sides run at once; silence of both is a *pause* if the same person speaks before and
after it, a *gap* if not. Silence at the edges of a recording is neither. Backchannels count like any other speech here;
``turns.py`` has the floor, which they do not take.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from avatar_lab.events.segments import Segment, merge_close, overlap

_TOUCH = 1e-6
"""Seconds; units that touch leave no silence between them."""


def durations(ipus: Mapping[str, list[Segment]]) -> dict[str, list[float]]:
    """Lengths in seconds of every ``ipu``, ``pause``, ``gap`` and ``overlap``, in order of time."""
    found: dict[str, list[float]] = {
        "ipu": [end - start for start, end in sorted(ipus["a"] + ipus["b"])],
        "pause": [],
        "gap": [],
        "overlap": [end - start for start, end in overlap(ipus["a"], ipus["b"])],
    }
    spoken = merge_close(ipus["a"] + ipus["b"], min_gap=2 * _TOUCH)
    for (_, silent), (loud, _) in pairwise(spoken):
        before = {side for side in ipus if any(abs(end - silent) <= _TOUCH for _, end in ipus[side])}
        after = {side for side in ipus if any(abs(start - loud) <= _TOUCH for start, _ in ipus[side])}
        found["pause" if before & after else "gap"].append(loud - silent)
    return found


def per_minute(lengths: Mapping[str, list[float]], *, seconds: float) -> dict[str, dict[str, float]]:
    """``events`` and ``seconds`` per minute of each kind, in a recording of ``seconds``. Over several recordings add
    up lengths and seconds first: means of means weigh short recordings too much."""
    minutes = seconds / 60
    return {
        kind: {"events": len(each) / minutes, "seconds": sum(each) / minutes}
        if minutes
        else {"events": 0, "seconds": 0}
        for kind, each in lengths.items()
    }
