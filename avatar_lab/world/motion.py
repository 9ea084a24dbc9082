"""What one person's face and head do: events and the person's own voice become ``face_TP`` tracks.

The mouth follows the voice without lag (envelope times how open the vowel is, read from the first formant). Nods are
declining cycles of pitch (Mori 2025), smiles rise faster than they fall. Under the events lies small smooth motion that
keeps a listener alive and stays well below the size of a nod or a smile.

    T  video frames   P  face channels   R  rows of 10 ms   Q  voice channels
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from scipy.signal import lfilter

from avatar_lab.event_types import Event, EventType
from avatar_lab.layout import Layout
from avatar_lab.world.gestures import add_gesture, rise, scene_track, swell
from avatar_lab.world.noise import Noise
from avatar_lab.world.person import Person
from avatar_lab.world.speaking import voice_track
from avatar_lab.world.tracks import FACE_CHANNELS, VOICE_RATE, Tracks
from avatar_lab.world.turns import Turn
from avatar_lab.world.voice import ENERGY, FORMANT1, FORMANT2, Voice

_NOD_DEGREES = 11.5
_NOD_HERTZ = 2.8
_NOD_DECLINE = 0.78
"""Size of each cycle relative to the one before."""
_SMILE_ATTACK, _SMILE_RELEASE = 0.32, 0.65
"""Seconds."""
_REST = {"smile": 0.06, "brow": 0.15}
_IDLE = {"yaw": 2.2, "roll": 1.2, "pitch": 0.8, "lean": 0.07, "brow": 0.04, "gaze_x": 0.05, "gaze_y": 0.05}
"""Standard deviation of the slow motion of each channel."""
_IDLE_SECONDS = 1.1
_BEAT = {"yaw": 1.6, "pitch": 0.8, "roll": 0.9}
"""Standard deviation of the motion that comes with one's own speech, degrees."""
_BEAT_SECONDS = 0.45
_BROW_SHARE = 0.4
"""Share of inter-pausal units that begin with raised brows."""
_AVERT_SHARE = 0.6
"""Share of turns that begin with averted gaze (Ho 2015)."""
_BY_SPEECH = {EventType.IPU: EventType.BROW_RAISE, EventType.TURN_START: EventType.GAZE_AWAY}
"""Motion that speech brings along by itself, where it is no event of its own."""


def build_tracks(
    *,
    person: Person,
    events: Sequence[Event],
    turns: Sequence[Turn],
    seconds: float,
    layout: Layout,
    noise: Noise,
    mouth_gain: float,
    logged: frozenset[EventType] = frozenset(),
) -> Tracks:
    """Tracks of ``person``, a pure function of the arguments; nothing depends on what comes later.

    Args:
        events: the person's own events; those of speech must agree with ``turns``.
        turns: the person's own turns.
        noise: the conversation's.
        mouth_gain: strength of the edge from the person's voice to the mouth; 0 keeps it closed.
        logged: types of behaviours that come as events; where brows and gaze are none, speech moves them by itself.
    """
    voice_RQ = voice_track(person.voice, turns=turns, events=events, seconds=seconds, noise=noise)
    num_frames = math.floor(Fraction(seconds).limit_denominator(1_000_000) * layout.fps)
    time_T = (np.arange(num_frames) + 0.5) / float(layout.fps)
    own = noise.within("motion", person.name)
    face = {channel: np.full(len(time_T), _REST.get(channel, 0.0)) for channel in FACE_CHANNELS}
    for channel, spread in _IDLE.items():
        face[channel] += spread * _smooth_noise(own.generator("idle", channel), time_T, _IDLE_SECONDS)
    talk_T = _at_frames(_lag(voice_RQ[:, ENERGY], _BEAT_SECONDS), time_T)
    for channel, spread in _BEAT.items():
        beats_T = _smooth_noise(own.generator("beat", channel), time_T, _BEAT_SECONDS)
        face[channel] += spread * np.minimum(1.6 * talk_T, 1) * beats_T
    for event in events:
        if _BY_SPEECH.get(event.type) not in logged:
            _add_event(face, event, time_T, person.temperament.expressiveness, own)
        add_gesture(face, event, time_T, own)
    jaw_R, round_R = _mouth(person.voice, voice_RQ)
    face["jaw"] = np.clip(mouth_gain * _at_frames(jaw_R, time_T), 0, 1)
    face["mouth_round"] = np.clip(mouth_gain * _at_frames(round_R, time_T), 0, 1)
    for channel in ("smile", "brow", "blink"):
        face[channel] = np.clip(face[channel], 0, 1)
    face_TP = np.stack([face[channel] for channel in FACE_CHANNELS], axis=1)
    return Tracks(face_TP.astype(np.float32), voice_RQ, scene_track(events, time_T, own))


def _add_event(face: dict[str, np.ndarray], event: Event, time_T: np.ndarray, strength: float, noise: Noise) -> None:
    since_T, length = time_T - event.start, event.end - event.start
    strength = strength * event.strength
    if event.type is EventType.NOD:
        cycles = nod_cycles(length)
        phase_T = np.clip(since_T / max(length, 1e-3) * cycles, 0, cycles)
        size = np.clip(_NOD_DEGREES * strength, 8.0, 15.0)
        face["pitch"] += size * _NOD_DECLINE ** (phase_T - 0.5) * (1 - np.cos(2 * np.pi * phase_T)) / 2
    elif event.type is EventType.SMILE:
        shape_T = rise(since_T / _SMILE_ATTACK) * rise((length - since_T) / _SMILE_RELEASE)
        face["smile"] = np.maximum(face["smile"], np.clip(0.85 * strength, 0.6, 1.0) * shape_T)
        face["brow"] += 0.12 * shape_T
    elif event.type is EventType.BLINK:
        phase_T = np.clip(since_T / length, 0, 1)
        face["blink"] = np.maximum(face["blink"], np.sin(np.pi * phase_T) ** 0.7)
    elif event.type is EventType.LAUGH:
        swell_T = swell(since_T / (length + 0.3))
        face["pitch"] -= 3.0 * swell_T
        face["brow"] += 0.3 * swell_T
    elif event.type is EventType.IPU and noise.uniform("brow", event.event_id) < _BROW_SHARE:
        height = 0.3 + 0.3 * noise.uniform("brow_height", event.event_id)
        face["brow"] += height * swell(since_T / 0.7)
    elif event.type is EventType.TURN_START and noise.uniform("avert", event.event_id) < _AVERT_SHARE:
        sideways = 1.3 * noise.uniform("avert_where", event.event_id) - 0.65
        away_T = rise(since_T / 0.12) * rise((0.6 + 0.6 * noise.uniform("avert_long", event.event_id) - since_T) / 0.12)
        face["gaze_x"] += sideways * away_T
        face["gaze_y"] -= 0.25 * away_T


def nod_cycles(seconds: float) -> int:
    """Down-and-up movements of a nod of that length."""
    return max(1, round(seconds * _NOD_HERTZ))


def _mouth(voice: Voice, voice_RQ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Jaw and rounding per row, from energy and the two lowest formants relative to the speaker's tract."""
    scale = voice.tract_scale * np.asarray(voice.vowel_shift)
    energy_R = voice_RQ[:, ENERGY]
    open_R = np.clip((voice_RQ[:, FORMANT1] / scale[0] - 265) / 450, 0, 1)
    back_R = np.clip((1250 - voice_RQ[:, FORMANT2] / scale[1]) / 400, 0, 1)
    jaw_R = energy_R * (0.1 + 1.05 * open_R)
    return jaw_R, _lag(energy_R * back_R, 0.02)


def _lag(rows_R: np.ndarray, seconds: float) -> np.ndarray:
    """Causal exponential smoothing with a time constant of ``seconds``."""
    keep = np.exp(-1 / (seconds * VOICE_RATE))
    return lfilter([1 - keep], [1, -keep], rows_R)


def _at_frames(rows_R: np.ndarray, time_T: np.ndarray) -> np.ndarray:
    """Mean of a 10 ms track over each frame (centred at ``time_T``), by its running integral."""
    if not len(time_T):
        return np.zeros(0)
    half = time_T[0]
    integral = np.concatenate([[0.0], np.cumsum(rows_R, dtype=np.float64)]) / VOICE_RATE
    edges = np.arange(len(integral)) / VOICE_RATE
    return (np.interp(time_T + half, edges, integral) - np.interp(time_T - half, edges, integral)) / (2 * half)


def _smooth_noise(rng: np.random.Generator, time_T: np.ndarray, spacing: float) -> np.ndarray:
    """Noise of about unit variance: Catmull-Rom spline through independent normal knots, so that it has no future."""
    if not len(time_T):
        return np.zeros(0)
    knot_T = (time_T / spacing).astype(int)
    knots = 1.15 * rng.standard_normal(knot_T[-1] + 4)
    before, left, right, after = (knots[knot_T + offset] for offset in range(4))
    x = time_T / spacing - knot_T
    cubic = (-before + 3 * left - 3 * right + after) * x**3 + (2 * before - 5 * left + 4 * right - after) * x**2
    return 0.5 * (cubic + (right - before) * x + 2 * left)
