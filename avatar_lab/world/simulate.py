"""Event simulation of two people in conversation, and its counterfactuals.

Everything is a queue of candidate events in time order: each is dropped or happens, and what happens sets off the edges
of the graph. A draw is named after what it decides (``noise.Noise``), never taken from a running generator, so
:func:`simulate` with ``do`` gives the same world up to the intervention and differs afterwards only in what descends
from it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from avatar_lab.event_types import EventType
from avatar_lab.layout import Layout
from avatar_lab.world.candidate import Candidate, spontaneous
from avatar_lab.world.dialogue import SIDES, Dialogue
from avatar_lab.world.event_log import EventLog
from avatar_lab.world.graph import Behaviour, Graph
from avatar_lab.world.intervention import Action, Intervention, removed
from avatar_lab.world.noise import Noise
from avatar_lab.world.outages import Outages
from avatar_lab.world.person import HELD_OUT_PEOPLE, TRAINING_PEOPLE, Person
from avatar_lab.world.speaking import reaction_rows
from avatar_lab.world.tracks import VOICE_RATE
from avatar_lab.world.turn_taking import BREATH, TurnTaking

_EDITABLE = (EventType.PAUSE, EventType.LOW_PITCH, EventType.HESITATION, EventType.YIELD)
"""What can be removed from a turn although it is no behaviour of its own."""
_BID_CLEARANCE = 1.6
"""No one interrupts a turn that is so close to its beginning or its end (seconds)."""
_BEFORE_TURN_END = 0.25
"""What must end with a turn ends this long before it (seconds)."""
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
    removable = {behaviour.type for behaviour in graph.behaviours} | set(_EDITABLE)
    for one in do:
        if one.action is Action.REMOVE and one.type not in removable:
            raise ValueError(f"cannot remove {one.type}: only {sorted(removable)} can be; force a turn end instead")
    people = "h" if held_out else "w"
    scenario = "" if graph.origin is None else graph.origin.scenario[0]
    interaction = f"{people}{scenario}{seed:08d}"
    noise, persons = Noise(interaction), sample_persons(seed, held_out=held_out)
    effects = graph.effects
    run = _Simulation(
        interaction=interaction,
        seconds=seconds,
        graph=graph,
        noise=noise,
        persons=persons,
        temperaments={
            side: person.temperament if effects is None else effects.temperament(person, noise, side)
            for side, person in persons.items()
        },
        outages=Outages.sample(noise, graph.outages, SIDES, seconds),
        do=tuple(do),
        log=EventLog(seconds=seconds),
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
        events=run.log.sorted(),
        turns=tuple(run.turns),
        outages=run.outages,
    )


@dataclass(kw_only=True)
class _Simulation(TurnTaking):
    """Adds everything that is not a turn."""

    def go(self) -> None:
        self.first_turn(SIDES[self.noise.uniform("first") < 0.5])
        for (side, kind), span in self.outages.spans.items():
            self.write(side, kind, self.noise.event_id("outage", side, kind), *span)
        for behaviour in self.graph.behaviours:
            for side in SIDES:
                self._push_spontaneous(side, behaviour, 0, 0.0)
        own_events = {behaviour.type for behaviour in self.graph.behaviours} | {EventType.TURN_END}
        for number, one in enumerate(self.do):
            if one.action is Action.FORCE and one.type in own_events:
                self.force(one, number)
        while self.queue and self.queue[0].start < self.seconds:
            candidate = heapq.heappop(self.queue)
            if candidate.cause is None or self.log.stands(candidate.cause, whole=candidate.after_end):
                self._happen(candidate)
        self.close()
        unused = [one for one in self.do if one.action is Action.FORCE and one not in self.used]
        if unused:
            raise ValueError(f"cannot force {unused}: the floor is not where that needs it; choose another time")

    def _happen(self, candidate: Candidate) -> None:
        if candidate.type is EventType.TURN_START:
            self.start_turn(candidate)
        elif candidate.type is EventType.YIELD:
            self.yield_floor(candidate)
        elif candidate.type is EventType.PAUSE:
            self.pause(candidate)
        elif candidate.type is EventType.TURN_END and candidate.number is not None:
            self.give_up(candidate.number, candidate.start)
        elif candidate.type is EventType.TURN_END:
            self.force_end(candidate)
        else:
            self._behave(candidate)

    def _push_spontaneous(self, side: str, behaviour: Behaviour, number: int, after: float) -> None:
        factor = self.temperaments[side].rate.get(behaviour.type, 1.0)
        self.push(spontaneous(self.noise, side=side, behaviour=behaviour, factor=factor, number=number, after=after))

    def _behave(self, candidate: Candidate) -> None:
        side, kind, start = candidate.side, candidate.type, candidate.start
        behaviour = self.graph.behaviour(kind)
        if candidate.number is not None:
            self._push_spontaneous(side, behaviour, candidate.number + 1, start)
        if not self._allowed(candidate, behaviour):
            return
        if candidate.forced is not None:
            self.used.append(candidate.forced)
        end = self._end(candidate, behaviour)
        if kind is EventType.INTERRUPTION:
            self.bid(candidate, end - start)
        self.respond(self.write(side, kind, candidate.event_id, start, end, candidate))

    def _end(self, candidate: Candidate, behaviour: Behaviour) -> float:
        side, start, identity = candidate.side, candidate.start, candidate.event_id
        if behaviour.duration is None:
            rows = reaction_rows(self.noise, identity, candidate.type, self.persons[side].voice)
            return start + len(rows) / VOICE_RATE
        if candidate.forced is not None:
            return candidate.forced.end
        own = self.active(side, start)
        speaking = own is not None and behaviour.duration_speaking is not None
        law = behaviour.duration_speaking if speaking and behaviour.duration_speaking else behaviour.duration
        end = start + law.quantile(self.noise.uniform("duration", identity))
        if own is not None and speaking:
            end = max(min(end, self.turns[own].end - _BEFORE_TURN_END), start + _BEFORE_TURN_END)
        return end

    def _allowed(self, candidate: Candidate, behaviour: Behaviour) -> bool:
        side, kind, start = candidate.side, candidate.type, candidate.start
        speaking = self.active(side, start) is not None
        if behaviour.vocal and not self.listening(side, start) and not (behaviour.in_own_turn and speaking):
            return False
        if kind is EventType.INTERRUPTION and not self._interruptible(side, start):
            return False
        if candidate.forced is not None:
            return True
        if removed(self.do, side, kind, start):
            return False
        if candidate.number is not None:
            share = behaviour.while_speaking if speaking else behaviour.while_listening
            if share < 1 and self.noise.uniform("share", candidate.event_id) >= share:
                return False
        last = self.log.latest.get((side, kind))
        if last is not None and start < max(last.start + candidate.refractory, last.end):
            return False
        return not behaviour.vocal or start > self.last_sound(side) + BREATH

    def _interruptible(self, side: str, time: float) -> bool:
        """Whether the partner is in the middle of a turn and ``side`` is silent."""
        if not self.listening(side, time) or time < self.last_sound(side) + BREATH:
            return False
        theirs = next(turn for turn in reversed(self.turns) if turn.side != side)
        last = theirs.end if theirs.closing_start is None else theirs.closing_start
        return theirs.start + _BID_CLEARANCE <= time <= last - _BID_CLEARANCE
