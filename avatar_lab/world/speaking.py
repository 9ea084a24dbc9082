"""What one person utters over a conversation: rows of the voice from turns, vocal reactions and prosody.

Phrases are rendered as planned, by noise of their own, and then edited, so that an intervention in the middle of a
phrase leaves everything before it as it was.

    R  rows of 10 ms   Q  voice channels
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from avatar_lab.event_types import Event, EventType
from avatar_lab.world.noise import Noise
from avatar_lab.world.speech import (
    backchannel_rows,
    few_words_rows,
    filler_rows,
    laugh_rows,
    silence_rows,
    speech_rows,
)
from avatar_lab.world.tracks import VOICE_RATE
from avatar_lab.world.turns import Span, Turn
from avatar_lab.world.voice import ENERGY, F0, NOISE, VOICED, Voice

_REACTIONS: dict[EventType, Callable[[np.random.Generator, Voice], np.ndarray]] = {
    EventType.BACKCHANNEL: backchannel_rows,
    EventType.LAUGH: laugh_rows,
    EventType.BRIEF_INTERRUPTION: few_words_rows,
}
_RAMP_ROWS = 3
"""Length of the fade at the edges of an edit."""
_RAMP = _RAMP_ROWS / VOICE_RATE
_LOWERING_SEMITONES = 1.35
"""Depth of a forced low pitch, in units of the voice's range."""
_CLOSING_DEPTH, _CLOSING_ENERGY, _CLOSING_SECONDS = 0.5, 0.72, 0.25
"""A turn that closes is so much lower (in units of the voice's range) and softer, after so long."""
_LIVELY_SEMITONES, _LIVELY_ENERGY = 3.0, 0.3
"""At strength 1: the voice is so much higher, and its amplitude larger by that share."""
_LOUDEST = 1.2
_LIVELY_RAMP = 0.15


def reaction_rows(noise: Noise, event_id: int, kind: EventType, voice: Voice) -> np.ndarray:
    """Sound of one vocal reaction (R, Q); ``noise`` is the conversation's."""
    return _REACTIONS[kind](noise.generator("reaction", event_id), voice)


def voice_track(
    voice: Voice, *, turns: Sequence[Turn], events: Sequence[Event], seconds: float, noise: Noise
) -> np.ndarray:
    """Rows (R, Q) of everything a person utters; a sound in ``events`` replaces the words that it falls on."""
    track_RQ = silence_rows(voice, seconds)
    for turn in turns:
        for phrase in turn.phrases:
            low = [(begin - phrase.start, end - phrase.start) for begin, end in phrase.low_pitch]
            rng = noise.generator("phrase", phrase.event_id)
            length = phrase.end - phrase.start
            rows = speech_rows(rng, voice, length, low_pitch=low, final_fall=phrase.final_fall)
            _place(track_RQ, rows, phrase.start)
        for span in turn.raised:
            _raise_pitch(track_RQ, span, voice)
        for span in turn.lowered:
            _lower_pitch(track_RQ, span, voice)
        for span in turn.muted:
            track_RQ[:, ENERGY] *= 1 - _gate(len(track_RQ), span)
        if turn.closing_start is not None:
            _close(track_RQ, (turn.closing_start, turn.end), voice)
    for event in events:
        if event.type in _REACTIONS:
            rows = reaction_rows(noise, event.event_id, event.type, voice)
        elif event.type is EventType.HESITATION:
            rng = noise.generator("filler", event.event_id)
            rows = filler_rows(rng, voice, event.end - event.start)
        else:
            continue
        if any(turn.start < event.end and event.start < turn.end for turn in turns):
            track_RQ[:, ENERGY] *= 1 - _gate(len(track_RQ), (event.start, event.end + _RAMP))
        _place(track_RQ, rows, event.start)
    for event in events:
        if event.type is EventType.LIVELY:
            _enliven(track_RQ, event)
    return track_RQ


def _place(track_RQ: np.ndarray, rows_RQ: np.ndarray, start: float) -> None:
    first = round(start * VOICE_RATE)
    room = max(len(track_RQ) - first, 0)
    track_RQ[first : first + len(rows_RQ)] = rows_RQ[:room]


def _gate(num_rows: int, span: Span) -> np.ndarray:
    """1 inside ``span``, 0 outside, with fades inside it."""
    first, last = span[0] * VOICE_RATE, span[1] * VOICE_RATE
    row = np.arange(num_rows)
    return np.clip(np.minimum(row - first, last - row) / _RAMP_ROWS, 0, 1)


def _lower_pitch(track_RQ: np.ndarray, span: Span, voice: Voice) -> None:
    """A voiced stretch below the 26th percentile of the person's F0, as ``speech_rows`` makes it."""
    gate = _gate(len(track_RQ), span)
    target = voice.f0 * 2 ** (-_LOWERING_SEMITONES * voice.f0_range / 12)
    for channel, value in ((F0, target), (VOICED, 0.95), (NOISE, 0.0), (ENERGY, 0.7)):
        track_RQ[:, channel] += gate * (value - track_RQ[:, channel])


def _close(track_RQ: np.ndarray, span: Span, voice: Voice) -> None:
    """Speech from which the end of the turn can be told: lower and softer from the start of ``span`` on."""
    first, last = math.ceil(span[0] * VOICE_RATE), min(round(span[1] * VOICE_RATE), len(track_RQ))
    gate = np.clip((np.arange(first, last) - first) / (_CLOSING_SECONDS * VOICE_RATE), 0, 1)
    track_RQ[first:last, F0] *= 2 ** (-gate * _CLOSING_DEPTH * voice.f0_range / 12)
    track_RQ[first:last, ENERGY] *= 1 - (1 - _CLOSING_ENERGY) * gate


def _enliven(track_RQ: np.ndarray, event: Event) -> None:
    """Raise pitch and energy of whatever sounds during ``event``, in proportion to its strength."""
    row = np.arange(len(track_RQ)) / VOICE_RATE
    gate = event.strength * np.clip(np.minimum(row - event.start, event.end - row) / _LIVELY_RAMP, 0, 1)
    track_RQ[:, F0] *= 2 ** (_LIVELY_SEMITONES * gate / 12)
    louder = track_RQ[:, ENERGY] * (1 + _LIVELY_ENERGY * gate)
    track_RQ[:, ENERGY] = np.where(gate > 0, np.minimum(louder, _LOUDEST), track_RQ[:, ENERGY])


def _raise_pitch(track_RQ: np.ndarray, span: Span, voice: Voice) -> None:
    """Undo a low pitch: F0 leads from where it was to the voice's median, in ``span`` only, so that the past stays."""
    first, last = math.ceil(span[0] * VOICE_RATE), min(round(span[1] * VOICE_RATE), len(track_RQ))
    gate = np.clip((np.arange(first, last) - first) / _RAMP_ROWS, 0, 1)
    track_RQ[first:last, F0] += gate * (voice.f0 - track_RQ[first:last, F0])
