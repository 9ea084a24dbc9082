"""Who holds the floor: inter-pausal units, turns, pauses, floor transfers and interruptions from two speech activities.

Definitions: an IPU is speech bounded by at least 200 ms of own silence. A vocal reaction (backchannel by the rule of
``reactions.py``, laugh) or a short IPU that lies inside one of the holder's IPUs (brief interruption) never takes the
floor. The floor passes when the other participant starts any other IPU; a turn runs from its holder's first IPU to the
last one begun before the floor passed. Silence inside a turn is a *pause*, between turns a *gap*; the floor-transfer
offset is start(new turn) - end(old turn), negative in overlap (Heldner & Edlund 2010, J. Phonetics 38).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from avatar_lab.event_types import Event, EventType
from avatar_lab.events.reactions import find_backchannels, inter_pausal_units
from avatar_lab.events.segments import Segment, merge_close, without

SIDES = ("a", "b")


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One stretch of holding the floor."""

    side: str
    start: float
    end: float
    ipus: tuple[Segment, ...]


@dataclass(frozen=True, kw_only=True)
class FloorTransfer:
    """The floor passes to ``side`` at ``time``; ``offset`` is positive for a gap, negative for an overlap."""

    side: str
    time: float
    offset: float


@dataclass(frozen=True, kw_only=True)
class TurnTaking:
    """The floor over a whole conversation."""

    ipus: dict[str, list[Segment]]
    backchannels: dict[str, list[Segment]]
    interruptions: dict[str, list[Segment]]
    """IPUs that began and ended while the other held the floor and went on speaking."""
    turns: list[Turn]
    transfers: list[FloorTransfer]

    def script(self, side: str) -> list[Segment]:
        """What ``side`` said as holder of the floor: its IPUs without reactions and brief interruptions."""
        return [ipu for turn in self.turns if turn.side == side for ipu in turn.ipus]

    def pauses(self, side: str) -> list[Segment]:
        """Silences of at least 200 ms inside the turns of ``side``."""
        return [(left[1], right[0]) for turn in self.turns if turn.side == side for left, right in pairwise(turn.ipus)]


def find_turns(
    segments_a: list[Segment],
    segments_b: list[Segment],
    *,
    vocal_reactions: dict[str, list[Segment]] | None = None,
    max_interruption: float = 2.0,
) -> TurnTaking:
    """Floor holding from two lists of speech segments.

    Args:
        vocal_reactions: IPUs per side known from elsewhere to be no turns, such as laughs.
        max_interruption: an IPU inside the other's turn that is longer takes the floor even if the other goes on.
    """
    ipus = {"a": inter_pausal_units(segments_a), "b": inter_pausal_units(segments_b)}
    reactions = vocal_reactions or {}
    backchannels = {
        side: without(find_backchannels(ipus[side], ipus[other]), reactions.get(side, []))
        for side, other in zip(SIDES, reversed(SIDES), strict=True)
    }
    candidates = []
    for side in SIDES:
        taken = backchannels[side] + reactions.get(side, [])
        candidates += [(start, end, side) for start, end in without(ipus[side], taken)]
    held: list[tuple[str, list[Segment]]] = []
    interruptions: dict[str, list[Segment]] = {side: [] for side in SIDES}
    for start, end, side in sorted(candidates):
        if held and held[-1][0] == side:
            held[-1][1].append((start, end))
        elif held and end <= held[-1][1][-1][1] and end - start <= max_interruption:
            interruptions[side].append((start, end))
        else:
            held.append((side, [(start, end)]))
    turns = [Turn(side=side, start=own[0][0], end=own[-1][1], ipus=tuple(own)) for side, own in held]
    transfers = [
        FloorTransfer(side=new.side, time=new.start, offset=new.start - old.end) for old, new in pairwise(turns)
    ]
    return TurnTaking(
        ipus=ipus, backchannels=backchannels, interruptions=interruptions, turns=turns, transfers=transfers
    )


def detect_turn_events(segments_a: list[Segment], segments_b: list[Segment], *, interaction: str = "") -> list[Event]:
    """IPU, TURN, PAUSE, TURN_START and TURN_END events of both sides, sorted by start."""
    return turn_events(find_turns(segments_a, segments_b), interaction=interaction)


def turn_events(floor: TurnTaking, *, interaction: str) -> list[Event]:
    """The events that a ``TurnTaking`` implies; the strength of a TURN_START is its floor-transfer offset."""
    offsets = {(transfer.side, transfer.time): transfer.offset for transfer in floor.transfers}
    spans: list[tuple[str, EventType, float, float, float]] = []
    for side in SIDES:
        spans += [(side, EventType.IPU, start, end, 1.0) for start, end in floor.ipus[side]]
        spans += [(side, EventType.PAUSE, start, end, 1.0) for start, end in floor.pauses(side)]
    for turn in floor.turns:
        spans.append((turn.side, EventType.TURN, turn.start, turn.end, 1.0))
        offset = offsets.get((turn.side, turn.start), 0.0)
        spans.append((turn.side, EventType.TURN_START, turn.start, turn.start, offset))
        spans.append((turn.side, EventType.TURN_END, turn.end, turn.end, 1.0))
    spans.sort(key=lambda span: (span[2], span[0], span[1]))
    return [
        Event(interaction=interaction, side=side, type=kind, start=start, end=end, strength=strength)
        for side, kind, start, end, strength in spans
    ]


def speech_shares(floor: TurnTaking, *, seconds: float) -> dict[str, float]:
    """Share of time with speech of either side, of both, of neither."""
    both = overlap_seconds(floor)
    spoken = sum(end - start for side in SIDES for start, end in floor.ipus[side]) - both
    return {"speech": spoken / seconds, "overlap": both / seconds, "silence": 1 - spoken / seconds}


def overlap_seconds(floor: TurnTaking) -> float:
    """Seconds in which both sides speak."""
    union = merge_close(floor.ipus["a"] + floor.ipus["b"], min_gap=2e-6)
    return sum(e - s for side in SIDES for s, e in floor.ipus[side]) - sum(e - s for s, e in union)
