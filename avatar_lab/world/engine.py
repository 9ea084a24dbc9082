"""The queue of candidate events and the edges that fill it: what turn-taking and behaviour are both built on."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from avatar_lab.event_types import Event, EventType
from avatar_lab.world.candidate import Candidate, response
from avatar_lab.world.dialogue import partner_of
from avatar_lab.world.event_log import EventLog
from avatar_lab.world.graph import Edge, Graph, Sense, Source
from avatar_lab.world.intervention import Intervention
from avatar_lab.world.noise import Noise
from avatar_lab.world.outages import Outages
from avatar_lab.world.person import Person, Temperament
from avatar_lab.world.turns import Turn

_STREAM_OFF = {Sense.AUDIO: EventType.MICROPHONE_OFF, Sense.VIDEO: EventType.CAMERA_OFF}


@dataclass(kw_only=True)
class Engine:
    """State shared by everything that happens in one conversation."""

    interaction: str
    seconds: float
    graph: Graph
    noise: Noise
    persons: dict[str, Person]
    temperaments: dict[str, Temperament]
    outages: Outages
    do: tuple[Intervention, ...]
    log: EventLog
    turns: list[Turn] = field(default_factory=list)
    queue: list[Candidate] = field(default_factory=list)
    used: list[Intervention] = field(default_factory=list)

    def push(self, candidate: Candidate | None) -> None:
        if candidate is not None:
            heapq.heappush(self.queue, candidate)

    def force(self, one: Intervention, number: int) -> None:
        """Queue an intervention that forces an event of its own."""
        self.push(
            Candidate(
                start=one.start,
                event_id=self.noise.event_id("do", number, one.side, one.type),
                side=one.side,
                type=one.type,
                strength=one.strength,
                forced=one,
            )
        )

    def active(self, side: str, time: float) -> int | None:
        """Place of the turn (or bid) that ``side`` speaks at ``time``, which is now."""
        for index in range(len(self.turns) - 1, -1, -1):
            turn = self.turns[index]
            if turn.side == side:
                return index if turn.start <= time < turn.end else None
        return None

    def perceived(self, edge: Edge, cue: Event) -> bool:
        """Whether the evidence of ``cue`` reaches the one whom ``edge`` would make respond."""
        if edge.source is Source.OWN:
            return True
        time = cue.end if edge.after_end else cue.start
        return not self.outages.off(cue.side, _STREAM_OFF[edge.sense], time)

    def respond(self, cue: Event) -> None:
        """Queue what the edges make of ``cue``; the next turn is not theirs alone to decide (``turn_taking``)."""
        for edge in self.graph.from_cue(cue.type):
            if edge.response is EventType.TURN_START or not self.perceived(edge, cue):
                continue
            if edge.while_speaking and self.active(cue.side, cue.start) is None:
                continue
            own = edge.source is Source.OWN
            side = cue.side if own else partner_of(cue.side)
            traits = self.temperaments[side].responsiveness
            responsiveness = 1.0 if own or edge.response is None else traits.get(edge.response, 1.0)
            self.push(response(self.noise, edge=edge, cue=cue, side=side, responsiveness=responsiveness))

    def write(
        self, side: str, kind: EventType, identity: int, start: float, end: float, origin: Candidate | None = None
    ) -> Event:
        """Write an event down; ``origin`` says why it happens."""
        strength = 1.0
        if origin is not None and kind is not EventType.TURN_START:
            strength = origin.strength * (0.85 + 0.3 * self.noise.uniform("strength", identity))
        event = Event(
            interaction=self.interaction,
            side=side,
            type=kind,
            start=start,
            end=min(end, self.seconds),
            strength=strength,
            event_id=identity,
            cause_id=None if origin is None or origin.cause is None else origin.cause.event_id,
            delay=None if origin is None else origin.delay,
        )
        self.log.add(event)
        return event
