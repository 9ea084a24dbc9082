"""Event simulation of two people in conversation, and its counterfactuals.

Turns are semi-Markov: a turn is planned when it starts, its end sets off the partner's. Everything else is a queue of
candidate events in time order: each is dropped or happens, and what happens sets off the edges of the graph. A draw is
named after what it decides (``noise.Noise``), never taken from a running generator, so :func:`simulate` with ``do``
gives the same world up to the intervention and differs afterwards only in what descends from it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from avatar_lab.event_types import Event, EventType
from avatar_lab.layout import Layout
from avatar_lab.world.candidate import Candidate, response, spontaneous
from avatar_lab.world.dialogue import SIDES, Dialogue, partner_of
from avatar_lab.world.graph import Behaviour, Graph, Source
from avatar_lab.world.intervention import Action, Intervention, removed
from avatar_lab.world.law import Law
from avatar_lab.world.noise import Noise
from avatar_lab.world.person import HELD_OUT_PEOPLE, TRAINING_PEOPLE, Person
from avatar_lab.world.speaking import reaction_rows
from avatar_lab.world.tracks import VOICE_RATE
from avatar_lab.world.turns import Turn, edit_turn, plan_turn

_OPENING = Law(centre=0.6, spread=0.2, low=0.3, high=1.2)
"""Silence before the first turn."""
_LAPSE = Law(centre=2.2, spread=0.25, low=1.4, high=4.0, lognormal=True)
"""Silence after which the partner speaks although no edge made it."""
_BREATH = 0.12
"""Least time between two sounds of one person that are not one utterance (seconds)."""
_DEFAULT_LAYOUT = Layout()


def sample_persons(seed: int, *, held_out: bool) -> dict[str, Person]:
    """The two people of a conversation; consecutive seeds have no one in common."""
    people = HELD_OUT_PEOPLE if held_out else TRAINING_PEOPLE
    return {side: Person.sample(people[(2 * seed + i) % len(people)]) for i, side in enumerate(SIDES)}


def simulate(
    seed: int,
    seconds: float,
    *,
    graph: Graph,
    held_out: bool = False,
    do: Sequence[Intervention] = (),
    layout: Layout = _DEFAULT_LAYOUT,
) -> Dialogue:
    """Conversation number ``seed`` of ``seconds``, under the interventions ``do``.

    Raises:
        ValueError: ``seed`` is negative, or a forced event is impossible where it is asked for.
    """
    if seed < 0:
        raise ValueError(f"the seed of a conversation is a number from 0 on, got {seed}")
    removable = {behaviour.type for behaviour in graph.behaviours} | {EventType.PAUSE, EventType.LOW_PITCH}
    for one in do:
        if one.action is Action.REMOVE and one.type not in removable:
            raise ValueError(f"cannot remove {one.type}: only {sorted(removable)} can be; force a turn end instead")
    people = "h" if held_out else "w"
    interaction = f"{people}{seed:08d}"
    run = _Simulation(
        interaction=interaction,
        seconds=seconds,
        graph=graph,
        noise=Noise(interaction),
        persons=sample_persons(seed, held_out=held_out),
        do=tuple(do),
    )
    run.go()
    return Dialogue(
        interaction=interaction,
        seed=seed,
        seconds=seconds,
        held_out=held_out,
        layout=layout,
        graph=graph,
        noise=run.noise,
        persons=run.persons,
        events=tuple(sorted(run.events, key=lambda event: (event.start, event.event_id))),
        turns=tuple(run.turns),
    )


@dataclass(kw_only=True)
class _Simulation:
    interaction: str
    seconds: float
    graph: Graph
    noise: Noise
    persons: dict[str, Person]
    do: tuple[Intervention, ...]
    events: list[Event] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    queue: list[Candidate] = field(default_factory=list)
    latest: dict[tuple[str, EventType], Event] = field(default_factory=dict)
    used: list[Intervention] = field(default_factory=list)

    def go(self) -> None:
        first = SIDES[self.noise.uniform("first") < 0.5]
        self._push(self._turn_start(first, 0, _OPENING.quantile(self.noise.uniform("opening"))))
        for behaviour in self.graph.behaviours:
            for side in SIDES:
                self._push_spontaneous(side, behaviour, 0, 0.0)
        reactions = {behaviour.type for behaviour in self.graph.behaviours}
        for number, one in enumerate(self.do):
            if one.action is Action.FORCE and one.type in reactions:
                self._push(
                    Candidate(
                        start=one.start,
                        event_id=self.noise.event_id("do", number, one.side, one.type),
                        side=one.side,
                        type=one.type,
                        strength=one.strength,
                        forced=one,
                    )
                )
        while self.queue and self.queue[0].start < self.seconds:
            candidate = heapq.heappop(self.queue)
            if candidate.type is EventType.TURN_START:
                self._start_turn(candidate)
            else:
                self._behave(candidate)
        unused = [one for one in self.do if one.action is Action.FORCE and one not in self.used]
        if unused:
            raise ValueError(f"cannot force {unused}: the floor is not where that needs it; choose another time")

    def _push(self, candidate: Candidate | None) -> None:
        if candidate is not None:
            heapq.heappush(self.queue, candidate)

    # Turns -----------------------------------------------------------------------------------------------------------
    def _turn_start(self, side: str, index: int, start: float) -> Candidate:
        identity = self.noise.event_id("turn_start", index)
        return Candidate(start=start, event_id=identity, side=side, type=EventType.TURN_START, number=index)

    def _start_turn(self, candidate: Candidate) -> None:
        side, start, index = candidate.side, candidate.start, len(self.turns)
        free = self._last_sound(side) + _BREATH
        if free > start:
            delay = None if candidate.delay is None else candidate.delay + free - start
            self._push(replace(candidate, start=free, delay=delay))
            return
        talkativeness = self.persons[side].temperament.talkativeness
        plan = plan_turn(self.noise, side=side, index=index, start=start, talkativeness=talkativeness)
        turn, used = edit_turn(plan, self.noise, self.do)
        self.used += used
        self.turns.append(turn)
        self._log(side, EventType.TURN, self.noise.event_id("turn", index), start, turn.end)
        self._log(side, EventType.TURN_START, candidate.event_id, start, start, candidate)
        for identity, (begin, end) in turn.units(self.noise):
            self._log(side, EventType.IPU, identity, begin, end)
        for cue in turn.cues:
            low = None
            if cue.low_start is not None:
                low = self._log(side, EventType.LOW_PITCH, cue.low_id, cue.low_start, cue.onset)
            if cue.pause_end is not None:
                self._respond(self._log(side, EventType.PAUSE, cue.pause_id, cue.onset, cue.pause_end))
            elif low is not None:
                self._respond(low)
        identity = self.noise.event_id("turn_end", index)
        self._pass_floor(self._log(side, EventType.TURN_END, identity, turn.end, turn.end))

    def _pass_floor(self, end: Event) -> None:
        """The partner's next turn, by an edge or, where none fires, after a lapse."""
        side, index = partner_of(end.side), len(self.turns)
        for edge in self.graph.from_cue(EventType.TURN_END):
            answer = response(self.noise, edge=edge, cue=end, side=side, responsiveness=1.0)
            if answer is not None and answer.type is EventType.TURN_START:
                self._push(answer)
                return
        lapse = _LAPSE.quantile(self.noise.uniform("lapse", index))
        self._push(self._turn_start(side, index, end.end + lapse))

    # Reactions and spontaneous behaviour -----------------------------------------------------------------------------
    def _push_spontaneous(self, side: str, behaviour: Behaviour, number: int, after: float) -> None:
        factor = self.persons[side].temperament.rate[behaviour.type]
        self._push(spontaneous(self.noise, side=side, behaviour=behaviour, factor=factor, number=number, after=after))

    def _behave(self, candidate: Candidate) -> None:
        side, kind, start = candidate.side, candidate.type, candidate.start
        behaviour = self.graph.behaviour(kind)
        if candidate.number is not None:
            self._push_spontaneous(side, behaviour, candidate.number + 1, start)
        if not self._allowed(candidate, behaviour):
            return
        if candidate.forced is not None:
            self.used.append(candidate.forced)
        if behaviour.duration is None:
            end = (
                start + len(reaction_rows(self.noise, candidate.event_id, kind, self.persons[side].voice)) / VOICE_RATE
            )
        elif candidate.forced is not None:
            end = candidate.forced.end
        else:
            end = start + behaviour.duration.quantile(self.noise.uniform("duration", candidate.event_id))
        self._respond(self._log(side, kind, candidate.event_id, start, end, candidate))

    def _allowed(self, candidate: Candidate, behaviour: Behaviour) -> bool:
        side, kind, start = candidate.side, candidate.type, candidate.start
        if behaviour.vocal and not self._listening(side, start):
            return False
        if candidate.forced is not None:
            return True
        if removed(self.do, side, kind, start):
            return False
        last = self.latest.get((side, kind))
        if last is not None and start < max(last.start + candidate.refractory, last.end):
            return False
        return not behaviour.vocal or start > self._last_sound(side) + _BREATH

    def _last_sound(self, side: str) -> float:
        """End of the last vocal reaction of ``side``."""
        vocal = (behaviour.type for behaviour in self.graph.behaviours if behaviour.vocal)
        ends = (self.latest[side, kind].end for kind in vocal if (side, kind) in self.latest)
        return max(ends, default=-_BREATH)

    def _listening(self, side: str, time: float) -> bool:
        """Whether the partner holds the floor at ``time``, which is now."""
        return bool(self.turns) and self.turns[-1].side != side and time < self.turns[-1].end

    def _respond(self, cue: Event) -> None:
        """Queue what the edges make of ``cue``."""
        for edge in self.graph.from_cue(cue.type):
            own = edge.source is Source.OWN
            side = cue.side if own else partner_of(cue.side)
            traits = self.persons[side].temperament.responsiveness
            responsiveness = 1.0 if own or edge.response is None else traits[edge.response]
            self._push(response(self.noise, edge=edge, cue=cue, side=side, responsiveness=responsiveness))

    def _log(
        self, side: str, kind: EventType, identity: int, start: float, end: float, origin: Candidate | None = None
    ) -> Event:
        """Write an event down unless the conversation is over by then; ``origin`` says why it happens."""
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
        if start < self.seconds:
            self.events.append(event)
            self.latest[side, kind] = event
        return event
