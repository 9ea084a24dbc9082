"""Who speaks when: a turn is planned when it starts, and what it announces and where it ends sets off the partner's.

Turns are semi-Markov. A turn may start before the partner's ends, if its closing told that it would; it may be cut
short by yielding, or interrupted by a pause. An interruption is a bid: a turn that holds no floor until the other
yields, and that gives up after a while otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from avatar_lab.event_types import Event, EventType
from avatar_lab.world.candidate import Candidate, response
from avatar_lab.world.dialogue import partner_of
from avatar_lab.world.engine import Engine
from avatar_lab.world.intervention import removed
from avatar_lab.world.law import Law
from avatar_lab.world.turn_edits import cut_turn, edit_turn, insert_pause
from avatar_lab.world.turns import Cue, Turn, plan_turn

BREATH = 0.12
"""Least time between two sounds of one person that are not one utterance (seconds)."""
_OUTLAST = 0.8
"""A turn begun in overlap lasts at least so long after the other one ended (seconds)."""
_INSERTED_PAUSE = Law(centre=0.5, spread=0.4, low=0.25, high=1.2, lognormal=True)
_PAUSE_CLEARANCE = 0.3
"""Least time from an inserted pause to the beginning of the turn, to a pause before and to the closing (seconds)."""


@dataclass(kw_only=True)
class TurnTaking(Engine):
    """Adds turns to the engine."""

    bids: set[int] = field(default_factory=set)
    """Places in ``turns`` of interruptions to which no one yielded yet."""
    waiting: Candidate | None = None
    """The start of the next turn, as far as it is settled."""

    # Who has the floor -----------------------------------------------------------------------------------------------
    def listening(self, side: str, time: float) -> bool:
        """Whether the partner holds the floor at ``time``, which is now, and ``side`` does not speak."""
        theirs = self.active(partner_of(side), time)
        return theirs is not None and theirs not in self.bids and self.active(side, time) is None

    def last_sound(self, side: str) -> float:
        """End of the last vocal reaction of ``side``."""
        end = self.log.last_end(side, (behaviour.type for behaviour in self.graph.behaviours if behaviour.vocal))
        return -BREATH if end is None else end

    # Starts and ends -------------------------------------------------------------------------------------------------
    def first_turn(self, side: str) -> None:
        start = self.graph.turns.opening.quantile(self.noise.uniform("opening"))
        self.push(Candidate(start=start, event_id=self._start_id(0), side=side, type=EventType.TURN_START))

    def start_turn(self, candidate: Candidate) -> None:
        side, start, index = candidate.side, candidate.start, len(self.turns)
        if candidate.after and not self.log.stands(candidate.after):
            return
        own = self.active(side, start)
        if own in self.bids and own is not None:
            self._win(own, candidate)
            return
        free = (self.last_sound(side) if own is None else self.turns[own].end) + BREATH
        if free > start:
            delay = None if candidate.delay is None else candidate.delay + free - start
            self.push(replace(candidate, start=free, delay=delay))
            return
        self.waiting = None
        self.turns.append(self._plan(side, start))
        self.respond(self.write(side, EventType.TURN_START, candidate.event_id, start, start, candidate))
        self._write_turn(index)

    def force_end(self, candidate: Candidate) -> None:
        """An intervention that ends a turn."""
        index = self.active(candidate.side, candidate.start)
        if index is not None and index not in self.bids and candidate.forced is not None:
            self.used.append(candidate.forced)
            self._cut(index, candidate.start, {})

    def _plan(self, side: str, start: float) -> Turn:
        theirs = self.active(partner_of(side), start)
        plan = plan_turn(
            self.noise,
            laws=self.graph.turns,
            side=side,
            index=len(self.turns),
            start=start,
            talkativeness=self.temperaments[side].talkativeness,
            at_least=0.0 if theirs is None else self.turns[theirs].end - start + _OUTLAST,
        )
        turn, used = edit_turn(plan, self.noise, self.do)
        self.used += used
        return turn

    def _write_turn(self, index: int) -> None:
        """Write down a turn that has the floor from its start on."""
        for entry in self.turns[index].entries(self.noise):
            event = self.write(self.turns[index].side, entry.type, entry.event_id, entry.start, entry.end)
            if entry.invites:
                self.respond(event)
        self._pass_floor(index)

    def _start_id(self, index: int) -> int:
        return self.noise.event_id("turn_start", index)

    def _pass_floor(self, index: int) -> None:
        """The partner's next turn: by an edge from how this one closes or ends, or else after a lapse."""
        side, entries = self.turns[index].side, self.turns[index].entries(self.noise)
        if self.waiting is not None and self.waiting.after and self.log.stands(self.waiting.after):
            return
        other = partner_of(side)
        tempo = self.temperaments[other].tempo
        end = self._planned(entries[-1].event_id, side, EventType.TURN_END, entries[-1].start)
        cues = [self.log.by_id[entry.event_id] for entry in entries if entry.event_id in self.log.by_id]
        for cue in (*(cue for cue in cues if cue.type is EventType.CLOSING), end):
            for edge in self.graph.from_cue(cue.type):
                if edge.response is not EventType.TURN_START or not self.perceived(edge, cue):
                    continue
                closing = cue.type is EventType.CLOSING
                factor, stretch = (1 / tempo, 1.0) if closing else (1.0, tempo)
                answer = response(self.noise, edge=edge, cue=cue, side=other, responsiveness=factor, stretch=stretch)
                if answer is not None:
                    self.waiting = replace(answer, after=cue)
                    self.push(self.waiting)
                    return
        following = len(self.turns)
        lapse = self.graph.turns.lapse.quantile(self.noise.uniform("lapse", following))
        start = end.end + lapse
        self.waiting = Candidate(
            start=start, event_id=self._start_id(following), side=other, type=EventType.TURN_START, after=end
        )
        self.push(self.waiting)

    def _planned(self, identity: int, side: str, kind: EventType, time: float) -> Event:
        """An event of the log, or what it would be if the conversation went on for so long."""
        if identity in self.log.by_id:
            return self.log.by_id[identity]
        return Event(interaction=self.interaction, side=side, type=kind, start=time, end=time, event_id=identity)

    # What happens to a turn ------------------------------------------------------------------------------------------
    def _rewrite(self, index: int, turn: Turn, now: float, origins: Mapping[int, Candidate]) -> None:
        """Replace a turn by one that is the same up to ``now``, in the log too; ``origins`` says why what is new is."""
        old = {entry.event_id: entry for entry in self.turns[index].entries(self.noise)}
        new = {entry.event_id: entry for entry in turn.entries(self.noise)}
        self.turns[index] = turn
        for identity, entry in old.items():
            if entry.start >= now and (identity not in new or new[identity].start != entry.start):
                self.log.drop(identity)
        for identity, entry in new.items():
            if identity in self.log.by_id:
                self.log.clip(identity, entry.end)
            elif entry.start >= now:
                event = self.write(
                    turn.side, entry.type, identity, entry.start, entry.end, origin=origins.get(identity)
                )
                if entry.invites:
                    self.respond(event)

    def _cut(self, index: int, now: float, origins: Mapping[int, Candidate]) -> None:
        """End a turn now; the floor goes to whoever bids for it, or passes as at any other end."""
        turn = cut_turn(self.turns[index], now)
        self._rewrite(index, turn, now, origins)
        away = self.log.latest.get((turn.side, EventType.GAZE_AWAY))
        if away is not None and away.start <= now < away.end:
            self.log.clip(away.event_id, now)
        bid = next((bid for bid in self.bids if self.turns[bid].side != turn.side), None)
        if bid is None:
            self._pass_floor(index)
            return
        cause = next(iter(origins.values()), None)
        won = self._start_id(bid)
        start = Candidate(start=now, event_id=won, side=self.turns[bid].side, type=EventType.TURN_START)
        self._win(bid, start if cause is None else replace(start, cause=cause.cause, delay=0.0))

    def _win(self, bid: int, start: Candidate) -> None:
        """The floor goes to who already speaks: an interruption becomes a turn."""
        self.bids.remove(bid)
        self.waiting = None
        self.write(start.side, EventType.TURN_START, start.event_id, start.start, start.start, start)
        self._write_turn(bid)

    def yield_floor(self, candidate: Candidate) -> None:
        """Stop speaking for the partner's sake, or after one's own few words."""
        side, now, cause = candidate.side, candidate.start, candidate.cause
        index = self.active(side, now)
        if removed(self.do, side, EventType.YIELD, now):
            return
        if cause is not None and cause.side == side:
            self.write(side, EventType.YIELD, candidate.event_id, now, now, candidate)
        elif index is not None and index not in self.bids and now > self.turns[index].start + BREATH:
            event = self.write(side, EventType.YIELD, candidate.event_id, now, now, candidate)
            end = self.noise.event_id("turn_end", self.turns[index].index)
            self._cut(index, now, {end: replace(candidate, cause=event, delay=0.0, strength=1.0)})

    def pause(self, candidate: Candidate) -> None:
        """Fall silent for a moment in the middle of one's turn."""
        side, now = candidate.side, candidate.start
        index = self.active(side, now)
        if index is None or index in self.bids or removed(self.do, side, EventType.PAUSE, now):
            return
        turn = self.turns[index]
        end = now + _INSERTED_PAUSE.quantile(self.noise.uniform("inserted", candidate.event_id))
        last = turn.end if turn.closing_start is None else turn.closing_start
        marks = [(min(x for x in (c.onset, c.low_start, c.filler_start) if x is not None), c.end) for c in turn.cues]
        busy = any(start < now < finish + _PAUSE_CLEARANCE for start, finish in marks)
        if busy or now < turn.start + _PAUSE_CLEARANCE or end > last - _PAUSE_CLEARANCE:
            return
        name = candidate.event_id
        low, filler = (self.noise.event_id(kind, name) for kind in (EventType.LOW_PITCH, EventType.HESITATION))
        cue = Cue(onset=now, low_start=None, low_id=low, pause_end=None, pause_id=name, filler_id=filler)
        self._rewrite(index, insert_pause(turn, cue, end), now, {name: candidate})

    # Interruptions ---------------------------------------------------------------------------------------------------
    def bid(self, candidate: Candidate, patience: float) -> None:
        """Begin to speak in the middle of the partner's turn, and give up after ``patience`` seconds."""
        index = len(self.turns)
        self.turns.append(self._plan(candidate.side, candidate.start))
        self.bids.add(index)
        self.push(
            replace(candidate, start=candidate.start + patience, number=index, forced=None, type=EventType.TURN_END)
        )

    def give_up(self, index: int, now: float) -> None:
        """End a bid that no one yielded to."""
        if index in self.bids:
            self.bids.remove(index)
            self.turns[index] = replace(cut_turn(self.turns[index], now), floor=False)
            self._write_units(self.turns[index])

    def close(self) -> None:
        """Write down what is still open when the conversation ends."""
        for index in sorted(self.bids):
            self._write_units(self.turns[index])

    def _write_units(self, turn: Turn) -> None:
        for identity, span in turn.units(self.noise):
            self.write(turn.side, EventType.IPU, identity, *span)
