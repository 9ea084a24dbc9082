"""From an agent's pixels and waveform to what it did: the same reader and detectors for every agent.

B conversations   P video frames   C reader channels   S audio samples
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.cues import Times
from avatar_lab.evaluation.finding import Finding
from avatar_lab.evaluation.lip_sync import Array, envelope
from avatar_lab.evaluation.media import Media
from avatar_lab.evaluation.metric.own_sound import OwnSound
from avatar_lab.evaluation.metric.picture import Look, look
from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.metric.voice import Voice, track_voice
from avatar_lab.event_types import Event, EventType
from avatar_lab.events.blinks import detect_blinks
from avatar_lab.events.gaze import detect_gaze_away
from avatar_lab.events.laughs import detect_laughs
from avatar_lab.events.leans import detect_leans
from avatar_lab.events.nods import detect_nods
from avatar_lab.events.reactions import detect_backchannels
from avatar_lab.events.smiles import detect_smiles
from avatar_lab.events.vad import detect_speech
from avatar_lab.layout import Layout
from avatar_lab.perception.pixel_reader import READ_CHANNELS
from avatar_lab.precision import fast_products

Trace = NDArray[Any]
"""What a plugin keeps of a conversation: numbers or text."""
LOOK_EVERY = 5
"""Frames; colours and sharpness change slowly, and to look costs more than to read."""


class Reader(Protocol):
    """Reads facial state from pixels."""

    def read(self, frames_PHWC: Tensor) -> Tensor:
        """Frames (P, H, W, 3) uint8 to the columns ``READ_CHANNELS`` (P, C)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What one agent did in one conversation."""

    jaw_P: Array
    envelope_P: Array
    speech: list[tuple[float, float]]
    """Stretches of the agent's own voice."""
    events: list[Event]
    channels_PC: Array = field(default_factory=lambda: np.zeros((0, len(READ_CHANNELS))))
    """All that the reader saw; no frames where only events are known."""
    voice: Voice | None = None
    look: Look | None = None
    """Of every fifth frame; ``None`` where the video is black."""
    own_sound: OwnSound | None = None
    """``None`` where only media or events are known, not the tokens."""
    extra: tuple[Finding, ...] = ()
    """What plugins found in the media."""
    traces: Mapping[str, Trace] = field(default_factory=dict)
    """What plugins keep to be compared with other conversations' or the recorded person's, by name of plugin."""

    def channels(self, names: tuple[str, ...]) -> Array:
        """Columns of the reader by name, (P, C)."""
        return self.channels_PC[:, [READ_CHANNELS.index(name) for name in names]]

    def onsets(self, types: tuple[EventType, ...]) -> Times:
        return np.array(sorted(event.start for event in self.events if event.type in types), dtype=np.float64)


def observe(media: Media, conversation: Conversation, *, reader: Reader, layout: Layout) -> Observation:
    """Read the pixels, then detect events in the curves and the waveform."""
    channels_PC = read_channels(media, reader)
    seen = look(media.video_PHWC[::LOOK_EVERY])
    heard = observe_channels(channels_PC, media.audio_S, conversation, layout)
    return replace(
        heard,
        voice=track_voice(media.audio_S, layout.sample_rate),
        look=None if isinstance(seen, Undefined) else seen,
    )


def read_channels(media: Media, reader: Reader) -> Array:
    """Reader channels (P, C) of all frames."""
    with fast_products("cpu"):
        return reader.read(torch.from_numpy(media.video_PHWC)).double().numpy()


def observe_channels(
    channels_PC: Array, audio_S: NDArray[np.float32], conversation: Conversation, layout: Layout
) -> Observation:
    """Events of one conversation from reader channels and waveform."""
    fps = float(layout.fps)
    channel = {name: channels_PC[:, column] for column, name in enumerate(READ_CHANNELS)}
    speech = detect_speech(audio_S, layout.sample_rate)
    key, side = conversation.key, conversation.side
    reactions = detect_backchannels(speech, conversation.user_speech(), interaction=key, side=side)
    brief = [(reaction.start, reaction.end) for reaction in reactions]
    events = [
        *detect_nods(channel["pitch"], fps, interaction=key, side=side),
        *detect_smiles(channel["smile"], fps, interaction=key, side=side),
        *detect_blinks(channel["blink"], fps, interaction=key, side=side),
        *detect_leans(channel["lean"], fps, interaction=key, side=side),
        *detect_gaze_away(channel["gaze_x"][:, None], fps, interaction=key, side=side),
        *reactions,
        *detect_laughs(audio_S, layout.sample_rate, brief, interaction=key, side=side),
    ]
    return Observation(
        jaw_P=channel["jaw"],
        envelope_P=envelope(audio_S, round(layout.sample_rate / layout.fps)),
        speech=speech,
        events=events,
        channels_PC=channels_PC,
    )


def reaction_spans(observation: Observation) -> list[tuple[float, float]]:
    """When an agent uttered vocal reactions."""
    return [(event.start, event.end) for event in observation.events if event.type is EventType.BACKCHANNEL]
