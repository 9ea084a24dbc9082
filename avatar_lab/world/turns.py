"""What a person does with the floor: phrases of speech, pauses between them, low pitch before pauses and elsewhere.

A turn is planned when it starts, from noise named after its number. Interventions edit the plan without drawing
anything new: phrases keep their planned sounds, and a forced pause mutes them, so nothing before an intervention can
change. Pauses keep clear of the ends of a turn, so that a reaction is over before the floor changes hands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from avatar_lab.event_types import EventType
from avatar_lab.world.intervention import Intervention, forced, removed
from avatar_lab.world.law import Law
from avatar_lab.world.noise import Noise

_TURN = Law(centre=7.8, spread=0.33, low=3.4, high=17.0, lognormal=True)
_FIRST_CUE = Law(centre=1.9, spread=0.4, low=1.4, high=2.8)
"""From the start of the turn to the first low pitch."""
_NEXT_CUE = Law(centre=2.7, spread=0.7, low=2.3, high=4.8)
"""From the end of one cue to the low pitch of the next: room for a stretch without any cue."""
_LOW_PITCH = Law(centre=0.25, spread=0.06, low=0.15, high=0.35)
_PAUSE = Law(centre=0.55, spread=0.22, low=0.35, high=0.9, lognormal=True)
_LAST_CUE = 2.3
"""Least time from the onset of a cue to the end of the turn."""
_SHARE_WITHOUT_PAUSE = 0.15
"""Share of low pitches that lead into no pause."""

Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """Planned speech without a break; ``low_pitch`` in seconds from the start of the conversation."""

    event_id: int
    start: float
    end: float
    low_pitch: tuple[Span, ...]
    final_fall: bool


@dataclass(frozen=True, kw_only=True)
class Cue:
    """An invitation to react: low pitch, a pause, or the one leading into the other at ``onset``."""

    onset: float
    low_start: float | None
    low_id: int
    pause_end: float | None
    pause_id: int

    @property
    def end(self) -> float:
        return self.onset if self.pause_end is None else self.pause_end


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One person holding the floor."""

    side: str
    index: int
    start: float
    end: float
    cues: tuple[Cue, ...]
    phrases: tuple[Phrase, ...]
    """Planned speech. What is heard is edited by the spans below."""
    muted: tuple[Span, ...] = ()
    lowered: tuple[Span, ...] = ()
    raised: tuple[Span, ...] = ()

    def units(self, noise: Noise) -> list[tuple[int, Span]]:
        """Inter-pausal units as heard: (event id, span)."""
        units: list[tuple[int, Span]] = []
        begin, identity = self.start, noise.event_id("ipu", self.index)
        for cue in self.cues:
            if cue.pause_end is not None:
                units.append((identity, (begin, cue.onset)))
                begin, identity = cue.pause_end, noise.event_id("ipu", cue.pause_id)
        return [*units, (identity, (begin, self.end))] if begin < self.end else units


def plan_turn(noise: Noise, *, side: str, index: int, start: float, talkativeness: float) -> Turn:
    """Turn number ``index`` of a conversation as it would go without intervention; ``noise`` is the conversation's."""
    noise = noise.within("turn", index)
    end = start + talkativeness * _TURN.quantile(noise.uniform("length"))
    cues: list[Cue] = []
    low_start = start + _FIRST_CUE.quantile(noise.uniform("first"))
    while True:
        number = len(cues)
        onset = low_start + _LOW_PITCH.quantile(noise.uniform("low_pitch", number))
        if onset > end - _LAST_CUE:
            break
        pauses = noise.uniform("pauses", number) > _SHARE_WITHOUT_PAUSE
        pause_end = onset + _PAUSE.quantile(noise.uniform("pause", number)) if pauses else None
        cue = Cue(
            onset=onset,
            low_start=low_start,
            low_id=noise.event_id("low_pitch", number),
            pause_end=pause_end,
            pause_id=noise.event_id("pause", number),
        )
        cues.append(cue)
        low_start = cue.end + _NEXT_CUE.quantile(noise.uniform("next", number))
    return Turn(
        side=side, index=index, start=start, end=end, cues=tuple(cues), phrases=_phrases(noise, start, end, cues)
    )


def _phrases(noise: Noise, start: float, end: float, cues: Sequence[Cue]) -> tuple[Phrase, ...]:
    breaks = [(cue.onset, cue.pause_end) for cue in cues if cue.pause_end is not None]
    edges = [start, *(edge for span in breaks for edge in span), end]
    phrases = []
    for number, (begin, finish) in enumerate(zip(edges[::2], edges[1::2], strict=True)):
        low = tuple((c.low_start, c.onset) for c in cues if c.low_start is not None and begin < c.onset <= finish)
        phrases.append(
            Phrase(
                event_id=noise.event_id("phrase", number),
                start=begin,
                end=finish,
                low_pitch=low,
                final_fall=finish == end,
            )
        )
    return tuple(phrases)


def edit_turn(turn: Turn, noise: Noise, do: Sequence[Intervention]) -> tuple[Turn, list[Intervention]]:
    """The turn as the interventions make it, and those of them that force something on it."""
    used: list[Intervention] = []
    for one in forced(do, turn.side, EventType.TURN_END, turn.start, turn.end)[:1]:
        kept = tuple(
            replace(cue, pause_end=None if cue.pause_end is None else min(cue.pause_end, one.start))
            for cue in turn.cues
            if cue.onset < one.start
        )
        turn = replace(turn, end=one.start, cues=kept, muted=(*turn.muted, (one.start, turn.end)))
        used.append(one)
    for cue in turn.cues:
        if cue.low_start is not None and removed(do, turn.side, EventType.LOW_PITCH, cue.low_start):
            turn = _swap(turn, cue, replace(cue, low_start=None))
            turn = replace(turn, raised=(*turn.raised, (cue.low_start, cue.onset)))
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
        cue = _forced_cue(noise, one, low_start=one.start, onset=min(one.end, turn.end), pause_end=None)
        turn = replace(turn, cues=_sorted([*turn.cues, cue]), lowered=(*turn.lowered, (one.start, cue.onset)))
        used.append(one)
    for one in forced(do, turn.side, EventType.PAUSE, turn.start, turn.end):
        turn = _force_pause(turn, noise, one)
        used.append(one)
    return turn, used


def _force_pause(turn: Turn, noise: Noise, one: Intervention) -> Turn:
    """Mute the plan from the start of the intervention; cues that fall into the silence become part of it."""
    start, end = one.start, min(one.end, turn.end)
    cues, absorbed = [], False
    for cue in turn.cues:
        if cue.pause_end is not None and cue.onset <= start < cue.pause_end:
            cues.append(replace(cue, pause_end=max(cue.pause_end, end)))
            absorbed = True
        elif start <= cue.onset <= end:
            end = max(end, cue.end)
            if cue.low_start is not None and cue.low_start < start:
                cues.append(replace(cue, onset=start, pause_end=None))
        else:
            cues.append(cue)
    if not absorbed:
        cues.append(_forced_cue(noise, one, low_start=None, onset=start, pause_end=end))
    return replace(turn, cues=_sorted(cues), muted=(*turn.muted, (start, end)))


def _forced_cue(
    noise: Noise, one: Intervention, *, low_start: float | None, onset: float, pause_end: float | None
) -> Cue:
    name = ("do", one.side, f"{one.start:.6f}")
    return Cue(
        onset=onset,
        low_start=low_start,
        low_id=noise.event_id(*name, "low_pitch"),
        pause_end=pause_end,
        pause_id=noise.event_id(*name, "pause"),
    )


def _swap(turn: Turn, old: Cue, new: Cue) -> Turn:
    return replace(turn, cues=tuple(new if cue is old else cue for cue in turn.cues))


def _sorted(cues: Sequence[Cue]) -> tuple[Cue, ...]:
    return tuple(sorted(cues, key=lambda cue: cue.onset))
