"""What one person utters over a conversation: rows of the voice from turns and vocal reactions.

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
from avatar_lab.world.speech import backchannel_rows, laugh_rows, silence_rows, speech_rows
from avatar_lab.world.tracks import VOICE_RATE
from avatar_lab.world.turns import Span, Turn
from avatar_lab.world.voice import ENERGY, F0, NOISE, VOICED, Voice

_REACTIONS: dict[EventType, Callable[[np.random.Generator, Voice], np.ndarray]] = {
    EventType.BACKCHANNEL: backchannel_rows,
    EventType.LAUGH: laugh_rows,
}
_RAMP_ROWS = 3
"""Length of the fade at the edges of an edit."""
_LOWERING_SEMITONES = 1.35
"""Depth of a forced low pitch, in units of the voice's range."""


def reaction_rows(noise: Noise, event_id: int, kind: EventType, voice: Voice) -> np.ndarray:
    """Sound of one vocal reaction (R, Q); ``noise`` is the conversation's."""
    return _REACTIONS[kind](noise.generator("reaction", event_id), voice)


def voice_track(
    voice: Voice, *, turns: Sequence[Turn], events: Sequence[Event], seconds: float, noise: Noise
) -> np.ndarray:
    """Rows (R, Q) of everything a person utters. Reactions in ``events`` must not overlap the person's own turns."""
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
    for event in events:
        if event.type in _REACTIONS:
            _place(track_RQ, reaction_rows(noise, event.event_id, event.type, voice), event.start)
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


def _raise_pitch(track_RQ: np.ndarray, span: Span, voice: Voice) -> None:
    """Undo a low pitch: F0 leads from where it was to the voice's median, in ``span`` only, so that the past stays."""
    first, last = math.ceil(span[0] * VOICE_RATE), min(round(span[1] * VOICE_RATE), len(track_RQ))
    gate = np.clip((np.arange(first, last) - first) / _RAMP_ROWS, 0, 1)
    track_RQ[first:last, F0] += gate * (voice.f0 - track_RQ[first:last, F0])
