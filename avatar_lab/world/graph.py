"""The causal graph of the world: one typed table of edges, and the base rate of every behaviour.

An edge says: after a cue, with some probability and after a delay drawn from a law, the listener responds, unless it
did the same within the refractory time. Every behaviour also occurs on its own at a rate that does not know the
partner, so the marginals of a behaviour prove nothing. Rates and delays follow human figures loosely (Ward & Tsukahara
2000 for backchannels after low pitch, Hale 2020 for nods, Riehle 2017 for smiles); delays reach past an avatar's input
delay.

To add an edge, add a row to :func:`world_v1` or to a copy of the graph; the simulator needs no change for responses
that are already behaviours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

from avatar_lab.event_types import EventType
from avatar_lab.world.effects import Effects
from avatar_lab.world.law import Law
from avatar_lab.world.outages import OutageLaws
from avatar_lab.world.turn_laws import QUICKSTART, TurnLaws

FLOOR_RESPONSES = (EventType.TURN_START, EventType.PAUSE, EventType.YIELD)
"""Responses that change a turn; they have no row among the behaviours."""


class Source(StrEnum):
    """Whose event is the cue."""

    PARTNER = "partner"
    OWN = "own"


class Sense(StrEnum):
    """Where the evidence of the cue lies."""

    AUDIO = "audio"
    VIDEO = "video"


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One arrow of the graph."""

    name: str
    source: Source
    sense: Sense
    cue: EventType
    response: EventType | None
    """``None``: the mouth, which follows the person's own voice continuously."""
    probability: float
    delay: Law | None
    """Seconds from the cue's reference time to the response; ``None`` where there is no lag."""
    refractory: float
    """Seconds since the start of the person's last event of this type during which the edge stays silent."""
    after_end: bool = False
    """Reference time of the cue: its end, else its start."""
    gain: float = 1.0
    """Factor on the strength of the response."""
    enabled: bool = True
    while_speaking: bool = field(default=False, repr=False)
    """The cue counts only while its person holds the floor: it could not be heard otherwise."""
    graded: bool = field(default=False, repr=False)
    """The response is as strong as the cue."""

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"edge {self.name!r}: probability {self.probability} must lie in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How a person behaves without a partner, and the form of one event."""

    type: EventType
    rate: float
    """Spontaneous events per minute of an average person."""
    refractory: float
    """Least distance of spontaneous events, and their distance from responses of the same type (seconds)."""
    duration: Law | None
    """``None``: as long as the sound that the voice makes of it."""
    while_speaking: float = field(default=1.0, repr=False)
    """Share of the spontaneous events that remain while the person has the floor ..."""
    while_listening: float = field(default=1.0, repr=False)
    """... and while it has not."""
    duration_speaking: Law | None = field(default=None, repr=False)
    """Where it differs while the person has the floor; such events end before the turn does."""
    in_own_turn: bool = field(default=False, repr=False)
    """A sound that may also be uttered in the middle of one's own speech."""

    @property
    def vocal(self) -> bool:
        """A sound; only uttered while the partner holds the floor, unless ``in_own_turn``."""
        return self.duration is None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Which world a graph is: what a recording must say to be simulated again."""

    world: str
    scenario: str
    held_out: bool
    """Whether its edges have the strengths that no training world has."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The table.

    Raises:
        ValueError: two edges or behaviours share a name, a response has no behaviour, or an edge starts from a negative
            control.
    """

    edges: tuple[Edge, ...]
    behaviours: tuple[Behaviour, ...]
    negative_controls: tuple[EventType, ...] = ()
    """Cue types that must change nothing in the partner."""
    turns: TurnLaws = field(default=QUICKSTART, repr=False)
    effects: Effects | None = field(default=None, repr=False)
    """How dyads and persons differ; ``None``: by the temperaments of the persons only."""
    outages: OutageLaws | None = field(default=None, repr=False)
    """How often cameras and microphones are off; ``None``: never."""
    origin: Origin | None = field(default=None, repr=False)
    """By what name to find this graph again; ``None``: :func:`world_v1`."""

    def __post_init__(self) -> None:
        names = [edge.name for edge in self.edges]
        types = [behaviour.type for behaviour in self.behaviours]
        if len(set(names)) < len(names) or len(set(types)) < len(types):
            raise ValueError(f"edges {names} and behaviours {types} must each be unique")
        for edge in self.edges:
            if edge.response is not None and edge.response not in (*types, *FLOOR_RESPONSES):
                raise ValueError(
                    f"edge {edge.name!r} responds with {edge.response}, which has no row in behaviours {types}"
                )
            if edge.source is Source.PARTNER and edge.cue in self.negative_controls:
                raise ValueError(f"edge {edge.name!r} starts from {edge.cue}, which is declared a negative control")

    def behaviour(self, kind: EventType) -> Behaviour:
        return next(row for row in self.behaviours if row.type is kind)

    def edge(self, name: str) -> Edge:
        for edge in self.edges:
            if edge.name == name:
                return edge
        raise ValueError(f"no edge {name!r}; there are {[edge.name for edge in self.edges]}")

    def from_cue(self, cue: EventType) -> list[Edge]:
        """Enabled edges that ``cue`` sets off."""
        return [edge for edge in self.edges if edge.cue is cue and edge.enabled]

    def with_edge(self, changed: Edge) -> Graph:
        """Graph in which the edge of that name is replaced, or added."""
        if changed.name not in [edge.name for edge in self.edges]:
            return replace(self, edges=(*self.edges, changed))
        return replace(self, edges=tuple(changed if edge.name == changed.name else edge for edge in self.edges))

    def without(self, names: Sequence[str]) -> Graph:
        """Graph in which the named edges are switched off."""
        graph = self
        for name in names:
            graph = graph.with_edge(replace(graph.edge(name), enabled=False))
        return graph

    def fingerprint(self) -> str:
        """First 16 hex digits of the sha256 over the table."""
        text = repr(self) + _text(self) + "".join(map(_text, self.edges)) + "".join(map(_text, self.behaviours))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text(row: Graph | Edge | Behaviour) -> str:
    """Columns that a table may leave at their defaults: they say something only where it does not."""
    given = [(column.name, getattr(row, column.name)) for column in fields(row) if not column.repr]
    defaults = {column.name: column.default for column in fields(row)}
    return "".join(f";{name}={value!r}" for name, value in given if value != defaults[name])


def _reaction(
    name: str, sense: Sense, cue: EventType, response: EventType, probability: float, delay: Law, refractory: float
) -> Edge:
    return Edge(
        name=name,
        source=Source.PARTNER,
        sense=sense,
        cue=cue,
        response=response,
        probability=probability,
        delay=delay,
        refractory=refractory,
        after_end=cue is EventType.LOW_PITCH,
    )


def world_v1() -> Graph:
    """The first world: each reaction has cues that only one sense can perceive.

    Reference time of a pause is its onset; the low pitch that leads into it announces it to the ear. A low pitch that
    leads into no pause is a weaker cue of its own. A blink is a negative control.
    """
    backchannel = Law(centre=0.78, spread=0.22, low=0.45, high=1.3, lognormal=True)
    nod = Law(centre=0.75, spread=0.17, low=0.45, high=1.3)
    smile = Law(centre=0.85, spread=0.17, low=0.5, high=1.3)
    floor = Law(centre=0.5, spread=0.35, low=0.2, high=1.4, lognormal=True)
    audio, video, kind = Sense.AUDIO, Sense.VIDEO, EventType
    return Graph(
        edges=(
            Edge(
                name="voice_to_mouth",
                source=Source.OWN,
                sense=audio,
                cue=kind.IPU,
                response=None,
                probability=1.0,
                delay=None,
                refractory=0.0,
            ),
            Edge(
                name="laugh_to_own_smile",
                source=Source.OWN,
                sense=audio,
                cue=kind.LAUGH,
                response=kind.SMILE,
                probability=1.0,
                delay=Law(centre=0.06, spread=0.03, low=0.02, high=0.12),
                refractory=0.0,
            ),
            _reaction("pause_to_backchannel", audio, kind.PAUSE, kind.BACKCHANNEL, 0.7, backchannel, 1.8),
            _reaction("pause_to_nod", audio, kind.PAUSE, kind.NOD, 0.8, nod, 1.8),
            _reaction("low_pitch_to_backchannel", audio, kind.LOW_PITCH, kind.BACKCHANNEL, 0.35, backchannel, 1.8),
            _reaction("low_pitch_to_nod", audio, kind.LOW_PITCH, kind.NOD, 0.45, nod, 1.8),
            _reaction("smile_to_smile", video, kind.SMILE, kind.SMILE, 0.82, smile, 3.0),
            _reaction("turn_end_to_turn_start", audio, kind.TURN_END, kind.TURN_START, 0.97, floor, 0.0),
        ),
        behaviours=(
            Behaviour(type=kind.BACKCHANNEL, rate=0.5, refractory=2.0, duration=None),
            Behaviour(type=kind.LAUGH, rate=0.2, refractory=4.0, duration=None),
            Behaviour(
                type=kind.NOD, rate=0.7, refractory=2.0, duration=Law(centre=0.85, spread=0.22, low=0.45, high=1.4)
            ),
            Behaviour(
                type=kind.SMILE, rate=4.8, refractory=3.0, duration=Law(centre=1.8, spread=0.4, low=1.1, high=3.0)
            ),
            Behaviour(
                type=kind.BLINK, rate=20.0, refractory=0.5, duration=Law(centre=0.18, spread=0.02, low=0.15, high=0.22)
            ),
        ),
        negative_controls=(kind.BLINK,),
    )
