"""What a person does with the floor: phrases of speech, pauses between them, low pitch before pauses and elsewhere.

A turn is planned when it starts, from noise named after its number and by laws (``turn_laws``). What happens to it
later (``turn_edits``) edits the plan without drawing anything new: phrases keep their planned sounds, and a pause mutes
them, so nothing before an edit can change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from avatar_lab.event_types import EventType
from avatar_lab.world.noise import Noise
from avatar_lab.world.turn_laws import TurnLaws

MIN_PAUSE = 0.2
"""Silences shorter than this are part of an inter-pausal unit (seconds)."""

_OPENING_WORDS = 0.3
"""No turn closes earlier than this after its start (seconds)."""

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
    """An invitation to react: low pitch, a filled pause, a pause, or the one leading into the other at ``onset``."""

    onset: float
    low_start: float | None
    low_id: int
    pause_end: float | None
    pause_id: int
    short: bool = False
    """The pause is planned shorter than ``MIN_PAUSE``: a catch of breath that no one takes for a pause."""
    filler_start: float | None = None
    """Where a filled pause that lasts until ``onset`` begins."""
    filler_id: int = 0

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
    closing_start: float | None = None
    closing_id: int = 0
    floor: bool = True
    """Whether it holds the floor; an interruption to which no one yielded never did."""
    muted: tuple[Span, ...] = ()
    lowered: tuple[Span, ...] = ()
    raised: tuple[Span, ...] = ()

    def units(self, noise: Noise) -> list[tuple[int, Span]]:
        """Inter-pausal units as heard: (event id, span)."""
        units: list[tuple[int, Span]] = []
        begin, identity = self.start, noise.event_id("ipu", self.index)
        for cue in self.cues:
            if cue.pause_end is not None and not cue.short:
                units.append((identity, (begin, cue.onset)))
                begin, identity = cue.pause_end, noise.event_id("ipu", cue.pause_id)
        return [*units, (identity, (begin, self.end))] if begin < self.end else units

    def entries(self, noise: Noise) -> list[Entry]:
        """What of the turn stands in the log, but for its start: that has a cause."""
        entries = [Entry(EventType.TURN, noise.event_id("turn", self.index), self.start, self.end)]
        entries += [Entry(EventType.IPU, identity, *span, invites=True) for identity, span in self.units(noise)]
        for cue in self.cues:
            pauses = cue.pause_end is not None and not cue.short
            if cue.low_start is not None:
                entries.append(Entry(EventType.LOW_PITCH, cue.low_id, cue.low_start, cue.onset, invites=not pauses))
            if cue.filler_start is not None:
                entries.append(Entry(EventType.HESITATION, cue.filler_id, cue.filler_start, cue.onset, invites=True))
            if cue.pause_end is not None and pauses:
                entries.append(Entry(EventType.PAUSE, cue.pause_id, cue.onset, cue.pause_end, invites=True))
        if self.closing_start is not None:
            entries.append(Entry(EventType.CLOSING, self.closing_id, self.closing_start, self.end))
        entries.append(Entry(EventType.TURN_END, noise.event_id("turn_end", self.index), self.end, self.end))
        return entries


@dataclass(frozen=True)
class Entry:
    """An event of a turn; ``invites``: it sets off edges, of the partner or of the speaker's own face."""

    type: EventType
    event_id: int
    start: float
    end: float
    invites: bool = False


def plan_turn(
    noise: Noise, *, laws: TurnLaws, side: str, index: int, start: float, talkativeness: float, at_least: float = 0.0
) -> Turn:
    """Turn number ``index`` of a conversation as it would go without intervention.

    Args:
        noise: the conversation's.
        talkativeness: factor on the length.
        at_least: seconds that it lasts, so that a turn begun in overlap outlasts the other one.
    """
    noise = noise.within("turn", index)
    end = start + max(talkativeness * laws.length.quantile(noise.uniform("length")), at_least)
    closing = 0.0 if laws.closing is None else laws.closing.quantile(noise.uniform("closing"))
    last = end - max(laws.last_cue, closing)
    cues: list[Cue] = []
    low_start = start + laws.first_cue.quantile(noise.uniform("first"))
    while True:
        number = len(cues)
        onset = low_start + laws.low_pitch.quantile(noise.uniform("low_pitch", number))
        if onset > last:
            break
        cue = _plan_cue(noise, laws, number, low_start, onset)
        if cue.end > end - max(0.5 * laws.last_cue, closing):
            break
        cues.append(cue)
        low_start = cue.end + laws.next_cue.quantile(noise.uniform("next", number))
    return Turn(
        side=side,
        index=index,
        start=start,
        end=end,
        cues=tuple(cues),
        phrases=_phrases(noise, start, end, cues),
        closing_start=max(end - closing, start + _OPENING_WORDS) if closing else None,
        closing_id=noise.event_id("closing"),
    )


def _plan_cue(noise: Noise, laws: TurnLaws, number: int, low_start: float, onset: float) -> Cue:
    pauses = noise.uniform("pauses", number) > laws.share_without_pause
    seconds = laws.pause.quantile(noise.uniform("pause", number))
    cue = Cue(
        onset=onset,
        low_start=low_start,
        low_id=noise.event_id("low_pitch", number),
        pause_end=onset + seconds if pauses else None,
        pause_id=noise.event_id("pause", number),
        short=seconds < MIN_PAUSE,
    )
    if not pauses:
        return cue
    if laws.share_without_low_pitch and noise.uniform("announced", number) < laws.share_without_low_pitch:
        cue = replace(cue, low_start=None)
    hesitations = laws.hesitations
    if hesitations is None or noise.uniform("hesitates", number) >= hesitations.share:
        return cue
    return replace(
        cue,
        low_start=None,
        pause_end=onset + hesitations.pause.quantile(noise.uniform("thinks", number)),
        short=False,
        filler_start=onset - hesitations.filler.quantile(noise.uniform("filler", number)),
        filler_id=noise.event_id("filler", number),
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
