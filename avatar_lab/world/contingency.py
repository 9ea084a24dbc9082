"""Does a behaviour follow a cue more often than it occurs without one?

Times of cues, matched times without, and the rate of responses after either; counted in event logs, whoever wrote them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avatar_lab.event_types import Event, EventType
from avatar_lab.world.dialogue import partner_of
from avatar_lab.world.spans import Spans

RESPONSE_WINDOW = (0.2, 1.5)
"""Seconds after a cue within which a behaviour counts as its response."""
_STEP = 0.5
"""Distance of candidate times without a cue (seconds)."""
_SPEECH_CUES = (EventType.PAUSE, EventType.LOW_PITCH)


def cue_times(events: Sequence[Event], user: str, cue: EventType, seconds: float) -> np.ndarray:
    """Onsets of the user's cues whose response window lies inside the conversation.

    A cue that is itself an answer to the avatar is no test of the avatar, and is left out.
    """
    starts = [event.start for event in events if event.side == user and event.type is cue and event.cause_id is None]
    return np.asarray([start for start in starts if start + RESPONSE_WINDOW[1] <= seconds])


def no_cue_times(events: Sequence[Event], user: str, cue: EventType, seconds: float) -> np.ndarray:
    """Times at which a cue could have been and none was: for cues of speech, inside the user's turns.

    Nothing that a cue sets off can fall into the window after such a time: cues before are longer ago than the window,
    cues after come too late for their responses.
    """
    speech = cue in _SPEECH_CUES
    kinds = _SPEECH_CUES if speech else (cue,)
    cues = [event for event in events if event.side == user and event.type in kinds]
    turns = Spans.of([(e.start, e.end) for e in events if e.side == user and e.type is EventType.TURN], seconds)
    where = turns if speech else Spans.of([(0.0, seconds)], seconds)
    early, late = RESPONSE_WINDOW
    times = np.arange(0.0, seconds, _STEP)
    kept = []
    for time in times:
        clear = all(event.end <= time - late + early or event.start >= time + late - early for event in cues)
        if clear and where.covers(time, time + late):
            kept.append(time)
    return np.asarray(kept)


def response_rate(events: Sequence[Event], avatar: str, response: EventType, times: np.ndarray) -> tuple[int, int]:
    """(responses, times): after how many of ``times`` the avatar's ``response`` starts within the window."""
    starts = np.sort([event.start for event in events if event.side == avatar and event.type is response])
    early, late = RESPONSE_WINDOW
    hits = np.searchsorted(starts, times + late) > np.searchsorted(starts, times + early)
    return int(hits.sum()), len(times)


def contingency(
    truth: Sequence[Event],
    performed: Sequence[Event],
    *,
    avatar: str,
    cue: EventType,
    response: EventType,
    seconds: float,
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(responses, times) after cues and at matched times without; their difference in proportion is the measure.

    Args:
        truth: the event log of the conversation, which says what the user did.
        performed: what the avatar (or an agent in its place) did.
    """
    user = partner_of(avatar)
    with_cue = response_rate(performed, avatar, response, cue_times(truth, user, cue, seconds))
    without = response_rate(performed, avatar, response, no_cue_times(truth, user, cue, seconds))
    return with_cue, without
