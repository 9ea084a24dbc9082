"""The log of a conversation during its simulation: what happened, and what is planned and may yet be cut short."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from avatar_lab.event_types import Event, EventType


@dataclass(kw_only=True)
class EventLog:
    """Events by identifier. Those of a turn are written down when it is planned, so some lie in the future."""

    seconds: float
    by_id: dict[int, Event] = field(default_factory=dict)
    latest: dict[tuple[str, EventType], Event] = field(default_factory=dict)
    """The event of a side and type that was written last."""

    def add(self, event: Event) -> None:
        """Write down, unless the conversation is over by then."""
        if event.start < self.seconds:
            self.by_id[event.event_id] = event
            self.latest[event.side, event.type] = event

    def clip(self, identity: int, end: float) -> None:
        """Let an event end at ``end`` instead."""
        if identity in self.by_id:
            event = replace(self.by_id[identity], end=min(end, self.seconds))
            self.by_id[identity] = event
            if self.latest[event.side, event.type].event_id == identity:
                self.latest[event.side, event.type] = event

    def drop(self, identity: int) -> None:
        """Take back something planned that will not happen."""
        self.by_id.pop(identity, None)

    def stands(self, event: Event, *, whole: bool = False) -> bool:
        """Whether ``event`` is still what happens, or happened, at that time; ``whole``: and ends when it should."""
        now = self.by_id.get(event.event_id)
        return now is not None and now.start == event.start and (not whole or now.end == event.end)

    def last_end(self, side: str, kinds: Iterable[EventType]) -> float | None:
        """End of the latest event of ``side`` among ``kinds``."""
        return max((self.latest[side, kind].end for kind in kinds if (side, kind) in self.latest), default=None)

    def sorted(self) -> tuple[Event, ...]:
        return tuple(sorted(self.by_id.values(), key=lambda event: (event.start, event.event_id)))
