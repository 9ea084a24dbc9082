"""A simulated conversation: who the two are, what they did and why, and, on demand, what that looks and sounds like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from avatar_lab.event_types import Event, EventType
from avatar_lab.layout import Layout
from avatar_lab.world.graph import Graph
from avatar_lab.world.motion import build_tracks
from avatar_lab.world.noise import Noise
from avatar_lab.world.outages import Outages
from avatar_lab.world.person import Person
from avatar_lab.world.tracks import Tracks
from avatar_lab.world.turns import Turn

SIDES = ("a", "b")


def partner_of(side: str) -> str:
    return SIDES[1 - SIDES.index(side)]


@dataclass(frozen=True, kw_only=True)
class Dialogue:
    """Two people, what they did and why, and what that looks and sounds like."""

    interaction: str
    seed: int
    seconds: float
    held_out: bool
    layout: Layout
    graph: Graph
    noise: Noise
    persons: dict[str, Person]
    events: tuple[Event, ...]
    """Sorted by start."""
    turns: tuple[Turn, ...]
    """By start; those of the two may overlap."""
    outages: Outages

    def of(self, side: str, kind: EventType | None = None) -> list[Event]:
        """Events of one side, of one type if given."""
        return [event for event in self.events if event.side == side and (kind is None or event.type is kind)]

    @cached_property
    def tracks(self) -> dict[str, Tracks]:
        """Motion and voice of both sides, computed on first use."""
        return {side: self.perform(side, self.of(side)) for side in SIDES}

    def perform(self, side: str, events: Sequence[Event], turns: Sequence[Turn] | None = None) -> Tracks:
        """Tracks of ``side`` with the given ``events`` of face, head and vocal reactions, and with its own turns.

        Args:
            turns: other turns of that side instead.
        """
        return build_tracks(
            person=self.persons[side],
            events=events,
            turns=[turn for turn in (self.turns if turns is None else turns) if turn.side == side],
            seconds=self.seconds,
            layout=self.layout,
            noise=self.noise,
            logged=frozenset(behaviour.type for behaviour in self.graph.behaviours),
            mouth_gain=sum(edge.gain for edge in self.graph.from_cue(EventType.IPU) if edge.response is None),
        )
