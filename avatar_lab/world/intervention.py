"""``do()``: force one event on a conversation, or keep one from happening, and leave all noise as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from avatar_lab.event_types import EventType


class Action(StrEnum):
    FORCE = "force"
    REMOVE = "remove"


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """``FORCE``: ``side`` does ``type`` from ``start`` to ``end`` whatever it did before. ``REMOVE``: no event of
    ``type`` of ``side`` starts in [start, end).

    Forced pauses, low pitches and turn ends need the side to be speaking, forced vocal reactions need its partner to
    be: the simulation refuses what cannot be. Sounds of the voice last as long as the voice makes them.
    """

    action: Action
    side: str
    type: EventType
    start: float
    end: float
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"an intervention needs 0 <= start <= end, got {self}")

    def hits(self, side: str, kind: EventType, start: float) -> bool:
        """Whether an event of ``side`` is removed by this intervention."""
        same = self.action is Action.REMOVE and self.side == side and self.type is kind
        return same and self.start <= start < self.end


def removed(do: Sequence[Intervention], side: str, kind: EventType, start: float) -> bool:
    return any(one.hits(side, kind, start) for one in do)


def forced(do: Sequence[Intervention], side: str, kind: EventType, start: float, end: float) -> list[Intervention]:
    """Interventions that force ``kind`` on ``side`` strictly inside ``start`` to ``end``, in order of time."""
    inside = [one for one in do if one.action is Action.FORCE and one.side == side and one.type is kind]
    return sorted((one for one in inside if start < one.start < end), key=lambda one: one.start)
