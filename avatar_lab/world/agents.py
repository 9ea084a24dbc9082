"""Reference agents: what answers to a recorded user look like when the wiring is perfect, late, absent or dead.

Agents keep the avatar's own turns (they are its script) and differ in their reactions, except for the frozen one, who
does nothing, and the random clip, which is another conversation altogether. The delayed oracle perceives the user no
earlier than a model of this layout can, and is therefore the bound that a model is measured against: it reacts later,
and where it yields or pauses it stops later. When its turns start is given.
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
from avatar_lab.world.turn_edits import delay_pause, resume_until
from avatar_lab.world.turns import Turn

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
    reactions = _reaction_types(dialogue) | {EventType.YIELD, EventType.PAUSE}
    events, stops = [], []
    for event in dialogue.of(side):
        cue = None if event.cause_id is None else cues.get(event.cause_id)
        if cue is not None and event.type in reactions:
            start = max(event.start, _perceived(dialogue, cue, event.type, layout))
            late = start - event.start
            delay = None if event.delay is None else event.delay + late
            if event.type in (EventType.YIELD, EventType.PAUSE) and late:
                stops.append((event, late))
            event = replace(event, start=start, end=event.end + late, delay=delay)
        events.append(event)
    return _perform(dialogue, side, *_stopped_later(dialogue, side, events, stops))


def _stopped_later(
    dialogue: Dialogue, side: str, events: list[Event], stops: Sequence[tuple[Event, float]]
) -> tuple[list[Event], list[Turn]]:
    """Turns whose holder falls silent so much later, and the events with those of such turns replaced."""
    turns = [turn for turn in dialogue.turns if turn.side == side]
    by_id = {event.event_id: event for event in events}
    for stop, late in stops:
        for place, old in enumerate(turns):
            if stop.type is EventType.YIELD and old.floor and old.end == stop.start:
                new = resume_until(old, stop.start + late)
            elif stop.type is EventType.PAUSE and any(cue.pause_id == stop.event_id for cue in old.cues):
                new = delay_pause(old, stop.event_id, late)
            else:
                continue
            turns[place] = new
            kept = {entry.event_id: entry for entry in new.entries(dialogue.noise)}
            for entry in old.entries(dialogue.noise):
                event = by_id.pop(entry.event_id, None)
                if event is not None and entry.event_id in kept:
                    start, end = kept[entry.event_id].start, kept[entry.event_id].end
                    by_id[entry.event_id] = replace(event, start=start, end=end)
    return list(by_id.values()), turns


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


def mean_motion(dialogue: Dialogue, side: str) -> Performance:
    """One's own turns with the mean face of the recording: what a model does that learned nothing but averages."""
    reactions = _reaction_types(dialogue)
    events = [event for event in dialogue.of(side) if event.type not in reactions]
    tracks = dialogue.perform(side, events)
    mean_1P = dialogue.tracks[side].face_TP.mean(axis=0, keepdims=True)
    return Performance(events=tuple(events), tracks=Tracks(np.repeat(mean_1P, len(tracks.face_TP), 0), tracks.voice_RQ))


def random_clip(dialogue: Dialogue, other: Dialogue, side: str) -> Performance:
    """What the person on the same side of ``other`` did, done by the avatar: nothing in it knows this user.

    Raises:
        ValueError: the other conversation is shorter, or was simulated for another frame rate.
    """
    if other.seconds < dialogue.seconds or other.layout.fps != dialogue.layout.fps:
        raise ValueError(
            f"{other.interaction} ({other.seconds} s) is too short or too fast a clip for {dialogue.interaction} "
            f"({dialogue.seconds} s): take one that is as long, of the same layout"
        )
    own, seconds = dialogue.tracks[side], dialogue.seconds
    acted = replace(other, persons={**other.persons, side: dialogue.persons[side]}).perform(side, other.of(side))
    scene_TC = None if acted.scene_TC is None else acted.scene_TC[: len(own.face_TP)]
    events = [
        replace(event, interaction=dialogue.interaction, end=min(event.end, seconds), cause_id=None, delay=None)
        for event in other.of(side)
        if event.start < seconds
    ]
    tracks = Tracks(acted.face_TP[: len(own.face_TP)], acted.voice_RQ[: len(own.voice_RQ)], scene_TC)
    return Performance(events=tuple(events), tracks=tracks)


def _reaction_types(dialogue: Dialogue) -> set[EventType]:
    """Behaviours that can be moved; an interruption belongs to the words that follow it."""
    return {behaviour.type for behaviour in dialogue.graph.behaviours} - {EventType.INTERRUPTION}


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


def _perform(
    dialogue: Dialogue, side: str, events: Iterable[Event], turns: Sequence[Turn] | None = None
) -> Performance:
    """Drop what cannot be uttered or comes after the end, then make tracks of the rest."""
    vocal = {behaviour.type: behaviour for behaviour in dialogue.graph.behaviours if behaviour.vocal}
    voice, noise = dialogue.persons[side].voice, dialogue.noise
    turns = [turn for turn in (dialogue.turns if turns is None else turns) if turn.side == side]
    speech = [(turn.start, turn.end) for turn in turns]
    uttered: list[tuple[float, float]] = []
    kept = []
    for event in sorted(events, key=lambda event: event.start):
        if event.start >= dialogue.seconds:
            continue
        if event.type in vocal:
            length = len(reaction_rows(noise, event.event_id, event.type, voice)) / VOICE_RATE
            event = replace(event, end=event.start + length)
            busy = uttered if vocal[event.type].in_own_turn else [*speech, *uttered]
            if any(event.start < end + _BREATH and start < event.end + _BREATH for start, end in busy):
                continue
            uttered.append((event.start, event.end))
        kept.append(replace(event, end=min(event.end, dialogue.seconds)))
    return Performance(events=tuple(kept), tracks=dialogue.perform(side, kept, turns))
