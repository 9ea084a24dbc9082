"""Events of a conversation and the columns in which every table of them is stored.

The world writes events with their causes; detectors (``events/``) write the same columns with an empty cause. A table
is an Arrow table sorted by ``start``; ``side`` is ``a`` or ``b``, the two participants of an interaction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

import pyarrow as pa


class EventType(StrEnum):
    # speech, read from one participant's audio
    IPU = "ipu"
    """Inter-pausal unit: speech bounded by at least 200 ms of own silence."""
    TURN = "turn"
    """IPUs of one holder up to the other's next turn, vocal reactions excluded."""
    PAUSE = "pause"
    """Silence of at least 200 ms inside a turn; the cue that invites a reaction."""
    LOW_PITCH = "low_pitch"
    """A stretch of low F0 of at least 110 ms inside a turn."""
    TURN_START = "turn_start"
    TURN_END = "turn_end"
    BACKCHANNEL = "backchannel"
    """A vocal reaction ("mm-hm") of at most 1 s while the other holds the floor."""
    LAUGH = "laugh"
    # face and head, read from one participant's video
    NOD = "nod"
    SMILE = "smile"
    BLINK = "blink"
    LEAN = "lean"
    GAZE_AWAY = "gaze_away"
    # more of speech
    CLOSING = "closing"
    """The last stretch of a turn, lower and softer, from which its end can be projected."""
    HESITATION = "hesitation"
    """A filled pause ("uhm") that leads into a long silent one."""
    INTERRUPTION = "interruption"
    """A bid for the floor: speech begun in the middle of the other's turn; it succeeds if the other yields."""
    BRIEF_INTERRUPTION = "brief_interruption"
    """A few words into the other's hesitation, after which the floor is left to the other."""
    YIELD = "yield"
    """The moment at which one gives up the floor, or stops interrupting, for the other's sake."""
    LIVELY = "lively"
    """A stretch in which one's voice, where it sounds, is higher and louder by ``strength``."""
    # more of face and body
    HAND_RAISE = "hand_raise"
    BROW_RAISE = "brow_raise"
    # what is no behaviour at all
    BACKGROUND = "background"
    """Something in the room behind changes; means nothing."""
    # no behaviour: what the recording of one participant lacks
    CAMERA_OFF = "camera_off"
    """The picture shows nothing, and the other cannot see this participant."""
    MICROPHONE_OFF = "microphone_off"
    """The sound is digital silence, and the other cannot hear this participant."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that a participant did, ``start`` to ``end`` in seconds of media time."""

    interaction: str
    side: str
    type: EventType
    start: float
    end: float
    strength: float = 1.0
    event_id: int = 0
    cause_id: int | None = None
    """``event_id`` of the cue that this event answers, if an edge of the world produced it."""
    delay: float | None = None
    """Seconds from the cause's reference time to ``start``."""


EVENT_SCHEMA = pa.schema(
    [
        ("interaction", pa.string()),
        ("side", pa.string()),
        ("type", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("strength", pa.float64()),
        ("event_id", pa.int64()),
        ("cause_id", pa.int64()),
        ("delay", pa.float64()),
    ]
)


def to_table(events: list[Event]) -> pa.Table:
    """Arrow table of ``events``, sorted by start time."""
    rows = [asdict(event) | {"type": str(event.type)} for event in sorted(events, key=lambda e: (e.start, e.event_id))]
    return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)


def from_table(table: pa.Table) -> list[Event]:
    """Inverse of :func:`to_table`.

    Raises:
        ValueError: the columns are not those of ``EVENT_SCHEMA``.
    """
    if table.schema.names != EVENT_SCHEMA.names:
        raise ValueError(
            f"event table has columns {table.schema.names}; expected {EVENT_SCHEMA.names}: prepare the data again"
        )
    return [Event(**row | {"type": EventType(row["type"])}) for row in table.to_pylist()]
