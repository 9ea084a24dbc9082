"""The avatar's own voice from the user's loudspeaker is no cue: no speech, no turn, no reaction of the user's."""

from __future__ import annotations

import numpy as np
import pytest

from avatar_lab.event_types import EventType
from avatar_lab.events.echo import EchoRule, detect_near_speech
from avatar_lab.events.reactions import detect_backchannels
from avatar_lab.events.segments import overlap, total
from avatar_lab.events.turns import detect_turn_events
from avatar_lab.events.vad import VadRule, detect_speech, frame_levels
from avatar_lab.layout import Layout
from avatar_lab.world.graph import Sense, Source, world_v1
from avatar_lab.world.noise import Noise
from avatar_lab.world.simulate import simulate
from avatar_lab.world.voice import synthesize
from data_prep.steps.microphone import coloured_noise, echo, room_response

RATE = Layout().sample_rate
LEVELS, DELAYS, ROOMS = (-20.0, -30.0, -40.0), (0.05, 0.3), (0.05, 0.15)
Voices = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def voices() -> Voices:
    """(avatar, user) of two conversations of held-out people."""
    found = []
    for seed in (11, 14):
        dialogue = simulate(seed, 40.0, graph=world_v1(), held_out=True)
        sounds = [
            synthesize(
                dialogue.persons[side].voice,
                dialogue.tracks[side].voice_RQ,
                RATE,
                dialogue.noise.generator("sound", side),
            )
            for side in ("a", "b")
        ]
        found.append((sounds[0], sounds[1]))
    return found


def _echo(far: np.ndarray, decibels: float, delay: float, room: float) -> np.ndarray:
    rng = Noise(f"{decibels}/{delay}/{room}").generator("echo")
    response = room_response(rng, seconds=room, sample_rate=RATE)
    pieces = echo(far, decibels=decibels, delay=delay, response_M=response, sample_rate=RATE)
    return np.concatenate(list(pieces))


@pytest.mark.parametrize("decibels", LEVELS)
@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("room", ROOMS)
def test_echo_of_a_speaking_avatar_is_no_event_of_a_silent_user(
    voices: Voices, decibels: float, delay: float, room: float
) -> None:
    for avatar, _ in voices:
        heard = _echo(avatar, decibels, delay, room)
        segments = detect_near_speech(heard, avatar, RATE)
        assert segments == []
        speaking = detect_speech(avatar, RATE)
        assert total(speaking) > 10
        assert [e for e in detect_turn_events(speaking, segments) if e.side == "b"] == []
        assert detect_backchannels(segments, speaking, side="b") == []


def test_the_world_finds_no_cue_in_the_echo(voices: Voices) -> None:
    """No sounding cue of any edge: the events that the rules would react to are those of the clean user."""
    cues = {edge.cue for edge in world_v1().edges if edge.source is Source.PARTNER and edge.sense is Sense.AUDIO}
    assert {EventType.PAUSE, EventType.TURN_END} <= cues
    for avatar, user in voices:
        speaking = detect_speech(avatar, RATE)
        clean = detect_turn_events(speaking, detect_near_speech(user, avatar, RATE))
        heard = user + _echo(avatar, -20.0, 0.3, 0.15)
        live = detect_turn_events(speaking, detect_near_speech(heard, avatar, RATE))
        for kind in cues & {EventType.PAUSE, EventType.TURN_END, EventType.TURN_START, EventType.IPU}:
            times = [[e.start for e in events if e.side == "b" and e.type is kind] for events in (clean, live)]
            assert len(times[0]) > 0
            np.testing.assert_allclose(times[1], times[0], atol=0.05)


def test_the_user_is_still_heard_over_the_echo(voices: Voices) -> None:
    for avatar, user in voices:
        spoken = detect_speech(user, RATE)
        found = detect_near_speech(user + _echo(avatar, -20.0, 0.05, 0.15), avatar, RATE)
        assert total(overlap(found, spoken)) > 0.98 * total(spoken)
        assert total(overlap(found, spoken)) > 0.98 * total(found)


def test_noise_and_echo_together_are_no_speech(voices: Voices) -> None:
    avatar, _ = voices[0]
    unit = coloured_noise(np.random.default_rng(0), len(avatar), colour="pink", sample_rate=RATE)
    noise = 0.01 * np.concatenate(list(unit))
    assert total(detect_near_speech(_echo(avatar, -20.0, 0.05, 0.15) + noise, avatar, RATE)) < 0.01 * total(
        detect_speech(avatar, RATE)
    )


def test_level_alone_holds_only_for_faint_echoes(voices: Voices) -> None:
    """Why the far side is needed: without it the bound is that no frame of the echo exceeds ``VadRule.absolute``."""
    rule = VadRule()
    for avatar, _ in voices:
        loudest = frame_levels(avatar, RATE, rule).max()
        assert detect_speech(_echo(avatar, rule.absolute - loudest - 6, 0.1, 0.1), RATE) == []
        assert detect_speech(_echo(avatar, -40.0, 0.1, 0.1), RATE) == []
        assert total(detect_speech(_echo(avatar, -20.0, 0.1, 0.1), RATE)) > 5


def test_unequal_recordings_are_refused() -> None:
    with pytest.raises(ValueError, match="equally long"):
        detect_near_speech(np.zeros(100), np.zeros(99), RATE, EchoRule())
