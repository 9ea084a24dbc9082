"""What may happen: candidate events in order of time, drawn from named noise without looking at the state of the world.

Whether a candidate then happens is the simulation's decision (``simulate``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log

from avatar_lab.event_types import Event, EventType
from avatar_lab.world.graph import Behaviour, Edge
from avatar_lab.world.intervention import Intervention
from avatar_lab.world.noise import Noise


@dataclass(frozen=True, kw_only=True, order=True)
class Candidate:
    """Something that ``side`` will do at ``start`` unless the state then forbids it."""

    start: float
    event_id: int
    side: str = field(compare=False)
    type: EventType = field(compare=False)
    refractory: float = field(compare=False, default=0.0)
    strength: float = field(compare=False, default=1.0)
    cause: Event | None = field(compare=False, default=None)
    delay: float | None = field(compare=False, default=None)
    after_end: bool = field(compare=False, default=False)
    """The delay counts from the end of the cause, which must not change."""
    number: int | None = field(compare=False, default=None)
    """Place in a row of spontaneous events, or of turns."""
    forced: Intervention | None = field(compare=False, default=None)
    after: Event | None = field(compare=False, default=None)
    """For a start of a turn: the event of the partner's turn that it waits for."""


def spontaneous(
    noise: Noise, *, side: str, behaviour: Behaviour, factor: float, number: int, after: float
) -> Candidate | None:
    """Event ``number`` of a renewal process that does not know the partner; ``None`` where its rate is zero.

    Args:
        factor: the person's factor on the rate.
        after: start of the event before it, or of the conversation.
    """
    if behaviour.rate * factor <= 0:
        return None
    interval = 60 / (behaviour.rate * factor)
    wait = -log(noise.uniform("spontaneous", side, behaviour.type, number))
    dead = min(behaviour.refractory, 0.9 * interval)
    # a renewal process seen from any moment has, to first order, no dead time before its first event
    start = after + (dead + (interval - dead) * wait if number else interval * wait)
    return Candidate(
        start=start,
        event_id=noise.event_id("spontaneous", side, behaviour.type, number),
        side=side,
        type=behaviour.type,
        refractory=behaviour.refractory,
        number=number,
    )


def response(
    noise: Noise, *, edge: Edge, cue: Event, side: str, responsiveness: float, stretch: float = 1.0
) -> Candidate | None:
    """What ``edge`` makes of ``cue``: the response of ``side``, or ``None`` where chance says no.

    Args:
        responsiveness: factor on the probability, of the person.
        stretch: factor on the delay, of the person.
    """
    if edge.response is None or edge.delay is None:
        return None
    if noise.uniform(edge.name, cue.event_id, "happens") >= edge.probability * responsiveness:
        return None
    delay = stretch * edge.delay.quantile(noise.uniform(edge.name, cue.event_id, "delay"))
    return Candidate(
        start=(cue.end if edge.after_end else cue.start) + delay,
        event_id=noise.event_id(edge.name, cue.event_id),
        side=side,
        type=edge.response,
        refractory=edge.refractory,
        strength=edge.gain * (cue.strength if edge.graded else 1.0),
        cause=cue,
        delay=delay,
        after_end=edge.after_end,
    )
