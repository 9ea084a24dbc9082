"""The arms of an experiment for reference agents of the world: what perfect, absent or misplaced answers would do.

Without any media: an agent is its list of events, taken as a perfect reader would read it. It calibrates the
instrument: an agent that answers its user must pass every experiment, one that does not must fail each that asks for
a change.

An event that is injected is simulated. What a changed stream does follows from the causes in the event log: answers to
cues that are no longer perceived are gone, those to delayed cues come later, those to another user's cues are that
user's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch

import numpy as np

from avatar_lab.evaluation.camera import Camera, CameraOn
from avatar_lab.evaluation.experiment import Experiment
from avatar_lab.evaluation.injections import Inject, again
from avatar_lab.evaluation.observation import Observation
from avatar_lab.evaluation.outcomes import CONTROL, Seen, Trial
from avatar_lab.evaluation.treatments import Delay, Off, Silence, Swap
from avatar_lab.evaluation.units import Unit
from avatar_lab.event_types import Event, EventType
from avatar_lab.layout import Layout, Stream
from avatar_lab.world.agents import delayed_oracle, random_clip, yoked
from avatar_lab.world.dialogue import Dialogue, partner_of
from avatar_lab.world.graph import Sense, Source

SENSES = {Stream.USER_AUDIO: Sense.AUDIO, Stream.USER_VIDEO: Sense.VIDEO}

Act = Callable[[Dialogue, Dialogue, str], Sequence[Event]]
"""What the side of a dialogue does; the second dialogue is one of other people, for those who look elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A reference agent.

    perceives  whether it knows its user at all; what does not keeps to the recording, turns included, whatever is done
    """

    act: Act
    perceives: bool


def world_agents(layout: Layout) -> dict[str, Agent]:
    """The reference agents by name."""
    knowing: dict[str, Act] = {
        "oracle": lambda own, other, side: own.of(side),
        "delayed_oracle": lambda own, other, side: delayed_oracle(own, side, layout).events,
    }
    unknowing: dict[str, Act] = {
        "yoked": lambda own, other, side: yoked(own, other, side).events,
        "random_clip": lambda own, other, side: random_clip(own, other, side).events,
        "frozen": lambda own, other, side: (),
    }
    return {
        **{name: Agent(act=act, perceives=True) for name, act in knowing.items()},
        **{name: Agent(act=act, perceives=False) for name, act in unknowing.items()},
    }


@dataclass(frozen=True, kw_only=True)
class Part:
    """What an agent does in a unit, and what it would do in the partner's; times are those of the conversation."""

    dialogue: Dialogue
    side: str
    time: float
    layout: Layout
    events: Sequence[Event]
    partner: Dialogue
    partner_events: Sequence[Event]

    def caused(self, event: Event, dialogue: Dialogue, stream: Stream) -> bool:
        """Whether the event answers something perceived on that stream after the moment."""
        cue = next((e for e in dialogue.of(partner_of(self.side)) if e.event_id == event.cause_id), None)
        if cue is None or cue.start < self.time:
            return False
        return any(
            edge.source is Source.PARTNER and edge.response is event.type and edge.sense is SENSES[stream]
            for edge in dialogue.graph.from_cue(cue.type)
        )

    def without(self, stream: Stream) -> list[Event]:
        return [event for event in self.events if not self.caused(event, self.dialogue, stream)]


@singledispatch
def control(treatment: object, part: Part) -> list[Event]:
    """What the agent does in the control arm: what it did in the recording, unless that is changed too."""
    return list(part.events)


@control.register
def _(treatment: CameraOn, part: Part) -> list[Event]:
    return replace(part, time=0.0).without(treatment.stream)


@singledispatch
def treated(treatment: object, part: Part) -> list[Event]:
    """What it does in the treated arm: the same, unless a treatment says otherwise."""
    return list(part.events)


@treated.register(Silence)
@treated.register(Off)
@treated.register(Camera)
def _(treatment: Silence | Off | Camera, part: Part) -> list[Event]:
    return part.without(treatment.stream)


@treated.register
def _(treatment: CameraOn, part: Part) -> list[Event]:
    return list(part.events) if treatment.picture is None else replace(part, time=0.0).without(treatment.stream)


@treated.register
def _(treatment: Delay, part: Part) -> list[Event]:
    late = treatment.exact_seconds(part.layout)
    return [
        replace(event, start=event.start + late, end=event.end + late)
        if part.caused(event, part.dialogue, treatment.stream)
        else event
        for event in part.events
    ]


@treated.register
def _(treatment: Swap, part: Part) -> list[Event]:
    given = [e for e in part.partner_events if part.caused(e, part.partner, treatment.stream)]
    return [*part.without(treatment.stream), *given]


@dataclass(frozen=True, kw_only=True)
class WorldArms:
    """Makes the trials of one reference agent.

    dialogue  of an interaction, by name
    """

    agent: Agent
    dialogue: Callable[[str], Dialogue]
    layout: Layout
    seed: int

    def trials(self, experiment: Experiment, units: Sequence[Unit], partners: Sequence[Unit]) -> list[Trial]:
        """One per unit, in order."""
        found = []
        for unit, partner in zip(units, partners, strict=True):
            part = self._part(unit, partner)
            arms = {CONTROL: self._seen(unit, control(next(iter(experiment.arms.values())), part))}
            for name, treatment in experiment.arms.items():
                arms[name] = self._seen(unit, self._treated(treatment, unit, part))
            found.append(Trial(unit=unit, partner=partner, arms=arms, layout=self.layout, seed=self.seed))
        return found

    def _part(self, unit: Unit, partner: Unit) -> Part:
        own, other = (self.dialogue(one.recorded.interaction) for one in (unit, partner))
        side = unit.recorded.side
        return Part(
            dialogue=own,
            side=side,
            time=unit.begin + unit.time,
            layout=self.layout,
            events=self.agent.act(own, other, side),
            partner=other,
            partner_events=self.agent.act(other, own, side),
        )

    def _treated(self, treatment: object, unit: Unit, part: Part) -> list[Event]:
        if not isinstance(treatment, Inject):
            return treated(treatment, part)
        if not self.agent.perceives:
            return list(part.events)
        done = again(part.dialogue, treatment.done(unit))
        return list(self.agent.act(done, part.partner, part.side))

    def _seen(self, unit: Unit, events: Sequence[Event]) -> Seen:
        """The events of the stretch, in its own time."""
        seconds = unit.conversation.seconds
        here = [
            replace(event, start=event.start - unit.begin, end=event.end - unit.begin)
            for event in sorted(events, key=lambda event: (event.start, event.type))
            if unit.begin <= event.start < unit.begin + seconds
        ]
        still_P = np.zeros(round(seconds * float(self.layout.fps)))
        observation = Observation(jaw_P=still_P, envelope_P=still_P, speech=_spoken(unit, events), events=here)
        digest = repr([(event.type, round(event.start, 6), round(event.end, 6)) for event in here])
        return Seen(observation=observation, digest=digest)


def _spoken(unit: Unit, events: Sequence[Event]) -> list[tuple[float, float]]:
    """Words of the agent's own turns that are heard in the stretch, those begun before it too, in its own time."""
    first, last = unit.begin, unit.begin + unit.conversation.seconds
    spans = [(e.start, e.end) for e in events if e.type is EventType.IPU and e.start < last and e.end > first]
    return sorted((max(start, first) - first, min(end, last) - first) for start, end in spans)
