"""Laughs are told from hums of assent by their bursts, also through the codec."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.event_types import EventType
from avatar_lab.events.laughs import detect_laughs
from avatar_lab.events.reactions import inter_pausal_units
from avatar_lab.events.vad import detect_speech
from avatar_lab.world.person import Person
from avatar_lab.world.speech import backchannel_rows, laugh_rows, silence_rows
from avatar_lab.world.voice import Voice, synthesize

RATE, TOKEN = 24000, 1920
REACTIONS, PEOPLE = 4, range(1000, 1006)


def sound(kind: Callable[[np.random.Generator, Voice], np.ndarray], person: int) -> np.ndarray:
    """Reactions of one person with silence between them."""
    voice, rng = Person.sample(person).voice, np.random.default_rng(person)
    rows = [silence_rows(voice, 1.5)]
    for _ in range(REACTIONS):
        rows += [kind(rng, voice), silence_rows(voice, 1.6)]
    wav_S = synthesize(voice, np.concatenate(rows), RATE, rng).astype(np.float32)
    return wav_S[: len(wav_S) // TOKEN * TOKEN]


def through(codec: TinyAudio, wav_S: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return codec.decode(codec.encode(torch.from_numpy(wav_S[None]))[0])[0][0].numpy()


def laughs_in(wav_S: np.ndarray) -> int:
    spans = inter_pausal_units(detect_speech(wav_S, RATE))
    found = detect_laughs(wav_S, RATE, spans, interaction="i", side="b")
    assert all(event.type is EventType.LAUGH and event.side == "b" and event.strength >= 3 for event in found)
    assert {(event.start, event.end) for event in found} <= set(spans)
    return len(found)


@pytest.mark.parametrize("coded", [False, pytest.param(True, marks=pytest.mark.ci)])
def test_laughs_are_found_and_hums_are_none(coded: bool) -> None:
    codec = TinyAudio.load()
    laughs = hums = 0
    for person in PEOPLE:
        waves = [sound(kind, person) for kind in (laugh_rows, backchannel_rows)]
        heard = [through(codec, wav_S) if coded else wav_S for wav_S in waves]
        laughs, hums = laughs + laughs_in(heard[0]), hums + laughs_in(heard[1])
    assert laughs >= 0.95 * REACTIONS * len(PEOPLE)
    assert hums <= 0.05 * REACTIONS * len(PEOPLE)


def test_without_reactions_there_is_no_laugh() -> None:
    silent_S = np.zeros(RATE, np.float32)
    assert detect_laughs(silent_S, RATE, []) == []
    assert detect_laughs(silent_S, RATE, [(0.2, 0.9), (0.95, 0.95)]) == []
