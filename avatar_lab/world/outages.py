"""When a camera or a microphone is off: what the partner cannot perceive then, and what the recording lacks.

A segment is an event of its side in the log and a line in ``<id>.world.json``; the picture is dark and the sound is
digital silence. Whoever trains on a recording masks these segments and takes the stream for absent.
"""

from __future__ import annotations

from dataclasses import dataclass

from avatar_lab.event_types import EventType
from avatar_lab.world.law import Law
from avatar_lab.world.noise import Noise

OUTAGES = (EventType.CAMERA_OFF, EventType.MICROPHONE_OFF)
Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class OutageLaws:
    """At most one segment per side, stream and conversation."""

    camera_share: float
    """Of sides whose camera is off for a while."""
    microphone_share: float
    length: Law
    """Seconds."""


@dataclass(frozen=True)
class Outages:
    """Segments by (side, ``CAMERA_OFF`` or ``MICROPHONE_OFF``)."""

    spans: dict[tuple[str, EventType], Span]

    @classmethod
    def sample(cls, noise: Noise, laws: OutageLaws | None, sides: tuple[str, ...], seconds: float) -> Outages:
        """Segments of one conversation; they start after its first tenth, and some reach its end."""
        spans: dict[tuple[str, EventType], Span] = {}
        if laws is None:
            return cls(spans)
        shares = ((EventType.CAMERA_OFF, laws.camera_share), (EventType.MICROPHONE_OFF, laws.microphone_share))
        for side in sides:
            for kind, share in shares:
                if noise.uniform("outage", side, kind) < share:
                    start = seconds * (0.1 + 0.85 * noise.uniform("outage_start", side, kind))
                    end = start + laws.length.quantile(noise.uniform("outage_length", side, kind))
                    spans[side, kind] = (round(start, 3), round(min(end, seconds), 3))
        return cls(spans)

    def off(self, side: str, kind: EventType, time: float) -> bool:
        """Whether that stream of ``side`` is off at ``time``."""
        start, end = self.spans.get((side, kind), (0.0, 0.0))
        return start <= time < end
