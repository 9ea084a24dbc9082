"""Conversations and agents with planted behaviour, without any media."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np

from avatar_lab.evaluation.agents import AGENTS, Agent
from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.observation import Observation
from avatar_lab.evaluation.references import Unavailable
from avatar_lab.evaluation.studio import Studio
from avatar_lab.event_types import Event, EventType
from avatar_lab.layout import Layout

LAYOUT = Layout()
SECONDS = 64.0
PROBABILITY = {
    "level1": {},
    "level2": {EventType.NOD: 0.7, EventType.BACKCHANNEL: 0.6},
    "level3": {EventType.NOD: 0.7, EventType.BACKCHANNEL: 0.6, EventType.SMILE: 0.8},
    "level3_camera_off": {EventType.NOD: 0.7, EventType.BACKCHANNEL: 0.6},
    "oracle": {EventType.NOD: 0.8, EventType.BACKCHANNEL: 0.7, EventType.SMILE: 0.9},
    "delayed_oracle": {EventType.NOD: 0.8, EventType.BACKCHANNEL: 0.7, EventType.SMILE: 0.9},
    "yoked": {},
    "frozen": {},
}
"""What each agent answers, and how often; agents without an entry are unavailable."""
ANSWERS = {
    EventType.NOD: EventType.PAUSE,
    EventType.BACKCHANNEL: EventType.PAUSE,
    EventType.SMILE: EventType.SMILE,
}


def conversation(number: int, side: str) -> Conversation:
    """Turns of 16 s each; the speaker pauses every 5 s; both smile and blink now and then."""
    rng = np.random.default_rng([number, ord(side)])
    key, events = f"d{number}", []
    for index, start in enumerate(np.arange(0, SECONDS, 16.0)):
        speaker = "ab"[index % 2]
        events.append(event(key, speaker, EventType.TURN, start, start + 16))
        for t in start + np.array([3.0, 8.0, 13.0]) + rng.uniform(-0.5, 0.5, 3):
            events.append(event(key, speaker, EventType.PAUSE, t, t + 0.5))
    for who in "ab":
        for t in np.arange(4.0, SECONDS - 3, 8.0) + rng.uniform(0, 2):
            events.append(event(key, who, EventType.SMILE, t + 4 * (who == "a"), t + 4 * (who == "a") + 1.5))
        for t in np.cumsum(rng.uniform(2, 6, 14)):
            events.append(event(key, who, EventType.BLINK, t, t + 0.2))
    return Conversation(
        key=key,
        interaction=key,
        side=side,
        num_blocks=LAYOUT.num_blocks(SECONDS),
        seconds=SECONDS,
        events=[e for e in events if e.start < SECONDS],
    )


def event(key: str, side: str, type: EventType, start: float, end: float) -> Event:
    return Event(interaction=key, side=side, type=type, start=float(start), end=float(end))


def act(agent: str, conversation: Conversation) -> Observation:
    """The planted agent in a conversation, its mouth following its voice with a lag of one frame."""
    frames = round(conversation.seconds * LAYOUT.fps)
    rng = np.random.default_rng([len(agent), *agent.encode(), *conversation.name.encode()])
    events = [
        event(conversation.key, conversation.side, kind, cue.start + delay, cue.start + delay + 0.4)
        for kind, probability in PROBABILITY[agent].items()
        for cue in conversation.events
        if cue.side == conversation.user and cue.type is ANSWERS[kind] and rng.random() < probability
        for delay in [rng.uniform(0.5, 1.2)]
    ]
    sound_P = np.convolve(rng.random(frames) ** 3, np.hanning(7), mode="same")
    still = agent == "frozen"
    return Observation(
        jaw_P=np.zeros(frames) if still else np.roll(sound_P, 1) + rng.normal(0, 0.1, frames),
        envelope_P=sound_P,
        speech=[(0.0, 16.0)],
        events=events,
    )


class PlantedStudio(Studio):
    """Performs without codecs, checkpoints or data; counts what it was asked for."""

    def __init__(self, *, num_dyads: int, films: Path) -> None:
        self.conversations = tuple(conversation(number, side) for number in range(num_dyads) for side in "ab")
        self.agents = AGENTS
        self.layout, self.seed, self.film_folder = LAYOUT, 0, films
        self.asked: list[tuple[str, int]] = []

    def perform(self, agent: Agent, numbers: Sequence[int], known: Set[str]) -> list[tuple[str, Observation | None]]:
        if agent.name not in PROBABILITY:
            raise Unavailable(f"{agent.name} was not trained")
        results: list[tuple[str, Observation | None]] = []
        for number in numbers:
            name = "level2" if agent.name == "level3_camera_off" else agent.name
            digest = f"{name}/{number}"
            if digest not in known:
                self.asked.append((agent.name, number))
            results.append((digest, None if digest in known else act(name, self.conversations[number])))
        return results
