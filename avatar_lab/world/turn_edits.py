"""What happens to a turn once it is planned: interventions, and what the partner makes its holder do.

Edits never draw anything for what stays, and mute instead of moving: up to the time of an edit, nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from avatar_lab.event_types import EventType
from avatar_lab.world.intervention import Intervention, forced, removed
from avatar_lab.world.noise import Noise
from avatar_lab.world.turns import Cue, Phrase, Turn

HESITATION_PAUSE = 0.9
"""Silence after a forced filled pause (seconds)."""


def edit_turn(turn: Turn, noise: Noise, do: Sequence[Intervention]) -> tuple[Turn, list[Intervention]]:
    """The turn as the interventions on its cues make it, and those of them that force something on it."""
    used: list[Intervention] = []
    for cue in turn.cues:
        if cue.low_start is not None and removed(do, turn.side, EventType.LOW_PITCH, cue.low_start):
            turn = _swap(turn, cue, replace(cue, low_start=None))
            turn = replace(turn, raised=(*turn.raised, (cue.low_start, cue.onset)))
    for cue in turn.cues:
        if cue.filler_start is not None and removed(do, turn.side, EventType.HESITATION, cue.filler_start):
            turn = _swap(turn, cue, replace(cue, filler_start=None))
    for cue in turn.cues:
        if cue.pause_end is not None and removed(do, turn.side, EventType.PAUSE, cue.onset):
            bridge = Phrase(
                event_id=noise.event_id("bridge", cue.pause_id),
                start=cue.onset,
                end=cue.pause_end,
                low_pitch=(),
                final_fall=False,
            )
            turn = replace(_swap(turn, cue, replace(cue, pause_end=None)), phrases=(*turn.phrases, bridge))
    for one in forced(do, turn.side, EventType.LOW_PITCH, turn.start, turn.end):
        cue = replace(_forced_cue(noise, one, onset=min(one.end, turn.end)), low_start=one.start)
        turn = replace(turn, cues=_sorted([*turn.cues, cue]), lowered=(*turn.lowered, (one.start, cue.onset)))
        used.append(one)
    for one in forced(do, turn.side, EventType.PAUSE, turn.start, turn.end):
        turn = insert_pause(turn, _forced_cue(noise, one, onset=one.start), min(one.end, turn.end))
        used.append(one)
    for one in forced(do, turn.side, EventType.HESITATION, turn.start, turn.end):
        if not any(cue.onset <= one.start < cue.end for cue in turn.cues):
            turn = _force_hesitation(turn, noise, one)
            used.append(one)
    return turn, used


def cut_turn(turn: Turn, time: float) -> Turn:
    """The turn if it ends at ``time``, which lies inside it."""
    kept = tuple(
        replace(
            cue,
            onset=min(cue.onset, time),
            pause_end=None if cue.pause_end is None or cue.onset >= time else min(cue.pause_end, time),
        )
        for cue in turn.cues
        if min(x for x in (cue.onset, cue.low_start, cue.filler_start) if x is not None) < time
    )
    closing = turn.closing_start if turn.closing_start is not None and turn.closing_start < time else None
    return replace(turn, end=time, cues=kept, closing_start=closing, muted=(*turn.muted, (time, turn.end)))


def resume_until(turn: Turn, time: float) -> Turn:
    """A turn that was cut short, if its holder stops at ``time`` instead, as far as there is something left to say."""
    start, planned = next(span for span in turn.muted if span[0] == turn.end)
    end = max(min(time, planned), start)
    others = tuple(span for span in turn.muted if span[0] != start)
    return replace(turn, end=end, muted=(*others, (end, planned)))


def delay_pause(turn: Turn, pause_id: int, seconds: float) -> Turn:
    """The turn if an inserted pause begins so much later; it ends before anything else of the turn begins."""
    cue = next(cue for cue in turn.cues if cue.pause_id == pause_id)
    if cue.pause_end is None:
        return turn
    others = tuple(other for other in turn.cues if other is not cue)
    marks = [min(x for x in (o.onset, o.low_start, o.filler_start) if x is not None) for o in others]
    limit = min([turn.end, *(mark for mark in marks if mark > cue.onset)])
    onset, end = cue.onset + seconds, min(cue.pause_end + seconds, limit)
    muted = tuple(span for span in turn.muted if span[0] != cue.onset)
    if onset >= end:
        return replace(turn, cues=others, muted=muted)
    return replace(
        turn,
        cues=_sorted([*others, replace(cue, onset=onset, pause_end=end, short=False)]),
        muted=(*muted, (onset, end)),
    )


def insert_pause(turn: Turn, cue: Cue, end: float) -> Turn:
    """Mute the plan from ``cue.onset`` to ``end``; cues that fall into the silence become part of it.

    ``cue`` is what the new pause is called, unless it only lengthens one that was there.
    """
    start = cue.onset
    cues, absorbed = [], False
    for other in turn.cues:
        if other.pause_end is not None and other.onset <= start < other.pause_end:
            cues.append(replace(other, pause_end=max(other.pause_end, end), short=False))
            absorbed = True
        elif start <= other.onset <= end:
            end = max(end, other.end)
            if other.low_start is not None and other.low_start < start:
                cues.append(replace(other, onset=start, pause_end=None))
        else:
            cues.append(other)
    if not absorbed:
        cues.append(replace(cue, pause_end=end))
    return replace(turn, cues=_sorted(cues), muted=(*turn.muted, (start, end)))


def _force_hesitation(turn: Turn, noise: Noise, one: Intervention) -> Turn:
    """A filled pause while speaking; what the plan has meanwhile becomes part of it."""
    onset = min(one.end, turn.end)
    absorbed = [cue for cue in turn.cues if one.start <= cue.onset < onset]
    kept = tuple(cue for cue in turn.cues if cue not in absorbed)
    end = max([min(onset + HESITATION_PAUSE, turn.end), *(cue.end for cue in absorbed)])
    cue = replace(_forced_cue(noise, one, onset=onset), filler_start=one.start)
    return insert_pause(replace(turn, cues=kept), cue, end)


def _forced_cue(noise: Noise, one: Intervention, *, onset: float) -> Cue:
    name = ("do", one.side, f"{one.start:.6f}")
    return Cue(
        onset=onset,
        low_start=None,
        low_id=noise.event_id(*name, "low_pitch"),
        pause_end=None,
        pause_id=noise.event_id(*name, "pause"),
        filler_id=noise.event_id(*name, "filler"),
    )


def _swap(turn: Turn, old: Cue, new: Cue) -> Turn:
    return replace(turn, cues=tuple(new if cue is old else cue for cue in turn.cues))


def _sorted(cues: Sequence[Cue]) -> tuple[Cue, ...]:
    return tuple(sorted(cues, key=lambda cue: cue.onset))
