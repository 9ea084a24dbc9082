"""The detectors against the world's own log: they must find what the world says happened, where it says so."""

from __future__ import annotations

import numpy as np
import pytest

from avatar_lab.event_types import Event, EventType
from avatar_lab.events.blinks import detect_blinks
from avatar_lab.events.nods import detect_nods
from avatar_lab.events.reactions import detect_backchannels
from avatar_lab.events.smiles import detect_smiles
from avatar_lab.events.turns import find_turns, turn_events
from avatar_lab.events.vad import detect_speech
from avatar_lab.layout import Layout
from avatar_lab.world.graph import world_v1
from avatar_lab.world.simulate import simulate
from avatar_lab.world.tracks import FACE_CHANNELS
from avatar_lab.world.voice import synthesize

SIDES = ("a", "b")
SEEDS = (11, 12, 13)


@pytest.fixture(scope="module")
def pairs() -> dict[EventType, list[tuple[list[Event], list[Event]]]]:
    """(found, logged) per dialogue and side, by type."""
    layout = Layout()
    out: dict[EventType, list[tuple[list[Event], list[Event]]]] = {}
    for seed in SEEDS:
        dialogue = simulate(seed, 60.0, graph=world_v1(), held_out=True, layout=layout)
        speech, found = {}, []
        for side in SIDES:
            tracks = dialogue.tracks[side]
            rng = dialogue.noise.generator("sound", side)
            wav_S = synthesize(dialogue.persons[side].voice, tracks.voice_RQ, layout.sample_rate, rng)
            speech[side] = detect_speech(wav_S, layout.sample_rate)
            curves = dict(zip(FACE_CHANNELS, tracks.face_TP.T, strict=True))
            found += detect_nods(curves["pitch"], float(layout.fps), side=side)
            found += detect_smiles(curves["smile"], float(layout.fps), side=side)
            found += detect_blinks(curves["blink"], float(layout.fps), side=side)
        found += turn_events(find_turns(speech["a"], speech["b"]), interaction="")
        found += detect_backchannels(speech["a"], speech["b"], side="a")
        found += detect_backchannels(speech["b"], speech["a"], side="b")
        for side in SIDES:
            for kind in EventType:
                logged = dialogue.of(side, kind)
                out.setdefault(kind, []).append(([e for e in found if e.side == side and e.type is kind], logged))
    return out


def _score(pairs: list[tuple[list[Event], list[Event]]]) -> tuple[float, float, float]:
    """Recall, precision and median onset error, matching within 0.3 s one to one."""
    errors: list[float] = []
    num_found = num_logged = 0
    for found, logged in pairs:
        left = sorted(event.start for event in found)
        num_found += len(found)
        num_logged += len(logged)
        for event in logged:
            near = min(left, key=lambda start: abs(start - event.start), default=None)
            if near is not None and abs(near - event.start) <= 0.3:
                left.remove(near)
                errors.append(near - event.start)
    return len(errors) / num_logged, len(errors) / num_found, float(np.median(errors))


@pytest.mark.parametrize(
    ("kind", "recall", "precision", "bias"),
    [
        (EventType.PAUSE, 0.95, 0.95, 0.03),
        (EventType.TURN_START, 0.95, 0.95, 0.05),
        (EventType.BACKCHANNEL, 0.9, 0.9, 0.05),
        (EventType.NOD, 0.9, 0.9, 0.05),
        (EventType.SMILE, 0.9, 0.9, 0.08),
        (EventType.BLINK, 0.95, 0.95, 0.05),
    ],
)
def test_detectors_agree_with_the_log(pairs, kind: EventType, recall: float, precision: float, bias: float) -> None:  # type: ignore[no-untyped-def]
    measured = _score(pairs[kind])
    assert measured[0] >= recall
    assert measured[1] >= precision
    assert abs(measured[2]) <= bias
