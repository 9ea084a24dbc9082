"""Reference agents: what answers to a recorded user look like when the wiring is perfect, late, absent or dead.

Every agent but the frozen one keeps the avatar's own turns (they are its script) and differs in its reactions. The
delayed oracle perceives the user no earlier than a model of this layout can, and is therefore the bound that a model is
measured against.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from avatar_lab.event_types import Event, EventType
from avatar_lab.layout import Layout, Stream
from avatar_lab.world.dialogue import Dialogue, partner_of
from avatar_lab.world.graph import Sense, Source
from avatar_lab.world.spans import Spans
from avatar_lab.world.speaking import reaction_rows
from avatar_lab.world.speech import silence_rows
from avatar_lab.world.tracks import VOICE_RATE, Tracks

_EVIDENCE_SECONDS = 0.2
"""How much of a cue must be perceived before it can be told from its absence: the shortest silence that is a pause, and
the rise of a smile."""
_STREAMS = {Sense.AUDIO: Stream.USER_AUDIO, Sense.VIDEO: Stream.USER_VIDEO}
_BREATH = 0.1
"""Least silence between two sounds of one person (seconds)."""


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What an agent does: its events and the tracks that :func:`record.render_person` turns into pictures and sound."""

    events: tuple[Event, ...]
    tracks: Tracks


def oracle(dialogue: Dialogue, side: str) -> Performance:
    """The recorded truth."""
    return Performance(events=tuple(dialogue.of(side)), tracks=dialogue.tracks[side])


def delayed_oracle(dialogue: Dialogue, side: str, layout: Layout) -> Performance:
    """The recorded truth, except that no reaction begins before the first block that can perceive its cue."""
    cues = {event.event_id: event for event in dialogue.of(partner_of(side))}
    reactions = _reaction_types(dialogue)
    events = []
    for event in dialogue.of(side):
        cue = None if event.cause_id is None else cues.get(event.cause_id)
        if cue is not None and event.type in reactions:
            start = max(event.start, _perceived(dialogue, cue, event.type, layout))
            late = start - event.start
            delay = None if event.delay is None else event.delay + late
            event = replace(event, start=start, end=event.end + late, delay=delay)
        events.append(event)
    return _perform(dialogue, side, events)


def yoked(dialogue: Dialogue, other: Dialogue, side: str) -> Performance:
    """Reactions of the same side of ``other``: right rates, wrong times.

    They are placed by the time spent listening (or not listening) so far, half of it further on, so that an avatar that
    talks more than its model reacts neither more nor less, and first reactions do not meet first cues.
    """
    reactions = _reaction_types(dialogue)
    here, there = _listening(dialogue, side), _listening(other, side)
    moved: list[Event] = []
    for target, source in ((here, there), (here.complement(), there.complement())):
        if not source.length:
            continue
        for event in other.of(side):
            if event.type not in reactions or not source.contains(event.start):
                continue
            for elapsed in np.arange(source.elapsed(event.start), target.length, source.length):
                start = target.locate(float(elapsed + target.length / 2) % target.length)
                end = start + event.end - event.start
                own = replace(event, interaction=dialogue.interaction, start=start, end=end)
                moved.append(replace(own, cause_id=None, delay=None))
    kept = [event for event in dialogue.of(side) if event.type not in reactions]
    return _perform(dialogue, side, [*kept, *_without_overlap(moved)])


def frozen(dialogue: Dialogue, side: str) -> Performance:
    """A still picture and silence."""
    face_TP = np.zeros_like(dialogue.tracks[side].face_TP)
    voice_RQ = silence_rows(dialogue.persons[side].voice, dialogue.seconds)
    return Performance(events=(), tracks=Tracks(face_TP, voice_RQ))


def _reaction_types(dialogue: Dialogue) -> set[EventType]:
    return {behaviour.type for behaviour in dialogue.graph.behaviours}


def _listening(dialogue: Dialogue, side: str) -> Spans:
    return Spans.of([(turn.start, turn.end) for turn in dialogue.turns if turn.side != side], dialogue.seconds)


def _without_overlap(events: Sequence[Event]) -> list[Event]:
    """Events in which no two of a type overlap; of two that do, the later is dropped."""
    kept: list[Event] = []
    ends: dict[EventType, float] = {}
    for event in sorted(events, key=lambda event: event.start):
        if event.start >= ends.get(event.type, 0.0):
            kept.append(event)
            ends[event.type] = event.end
    return kept


def _perceived(dialogue: Dialogue, cue: Event, response: EventType, layout: Layout) -> float:
    """Start of the first block whose visible part of the user contains the evidence of ``cue``."""
    starts = []
    for edge in dialogue.graph.from_cue(cue.type):
        if edge.source is Source.PARTNER and edge.response is response:
            evidence = cue.end if edge.after_end else cue.start + _EVIDENCE_SECONDS
            stream = _STREAMS[edge.sense]
            token_end = math.ceil(evidence / layout.grid(stream))
            block = math.ceil((token_end + layout.delay_tokens(stream)) / layout.per_block(stream))
            starts.append(layout.start(block))
    return min(starts)


def _perform(dialogue: Dialogue, side: str, events: Iterable[Event]) -> Performance:
    """Drop what cannot be uttered or comes after the end, then make tracks of the rest."""
    vocal = {behaviour.type for behaviour in dialogue.graph.behaviours if behaviour.vocal}
    voice, noise = dialogue.persons[side].voice, dialogue.noise
    busy = [(turn.start, turn.end) for turn in dialogue.turns if turn.side == side]
    kept = []
    for event in sorted(events, key=lambda event: event.start):
        if event.start >= dialogue.seconds:
            continue
        if event.type in vocal:
            length = len(reaction_rows(noise, event.event_id, event.type, voice)) / VOICE_RATE
            event = replace(event, end=event.start + length)
            if any(event.start < end + _BREATH and start < event.end + _BREATH for start, end in busy):
                continue
            busy.append((event.start, event.end))
        kept.append(replace(event, end=min(event.end, dialogue.seconds)))
    return Performance(events=tuple(kept), tracks=dialogue.perform(side, kept))
