"""A page that shows the world: its faces, what they do, how they sound, and conversations with their causes.

Written for looking: whether faces are pleasant, gestures legible, voices distinct, and reactions where they should be.

    P frames   H, W, C pixels   S samples
"""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np

from avatar_lab.event_types import Event, EventType
from avatar_lab.layout import Layout
from avatar_lab.page_style import PAGE_STYLE, section
from avatar_lab.world.calibrated import calibrated
from avatar_lab.world.calibration import logged_floor, measure_faces, measure_floor
from avatar_lab.world.dialogue import SIDES
from avatar_lab.world.face import render_face
from avatar_lab.world.gallery_media import loop, picture, sound, spectrum
from avatar_lab.world.gallery_timeline import legend, timeline
from avatar_lab.world.graph import Edge, Source
from avatar_lab.world.human_table import HUMAN_TABLE
from avatar_lab.world.motion import build_tracks
from avatar_lab.world.noise import Noise
from avatar_lab.world.person import HELD_OUT_PEOPLE, TRAINING_PEOPLE, Person
from avatar_lab.world.record import render_person
from avatar_lab.world.scenario import SCENARIOS, ScenarioName
from avatar_lab.world.simulate import simulate
from avatar_lab.world.speaking import voice_track
from avatar_lab.world.tracks import FACE_CHANNELS
from avatar_lab.world.turn_laws import HUMAN
from avatar_lab.world.turns import Turn, plan_turn
from avatar_lab.world.voice import synthesize

_LOOP_SECONDS = 3.2
_BEHAVIOURS = (
    ("talks", None, 0.2, 3.0),
    ("smiles", EventType.SMILE, 0.4, 2.6),
    ("laughs", EventType.LAUGH, 0.6, 1.5),
    ("nods", EventType.NOD, 0.6, 1.6),
    ("blinks", EventType.BLINK, 1.0, 1.2),
    ("raises the brows", EventType.BROW_RAISE, 0.7, 1.5),
    ("looks away", EventType.GAZE_AWAY, 0.6, 2.4),
    ("leans in", EventType.LEAN, 0.3, 3.0),
    ("raises a hand", EventType.HAND_RAISE, 0.4, 2.9),
    ("the sun comes out", EventType.BACKGROUND, 0.3, 3.0),
)
"""(caption, event, start, end)."""
_SOUNDS = (
    ("speech, lively in the middle", EventType.LIVELY, 1.2, 2.6),
    ("speech with a hesitation", EventType.HESITATION, 1.4, 1.9),
    ("mm-hm", EventType.BACKCHANNEL, 0.3, 0.8),
    ("a laugh", EventType.LAUGH, 0.3, 1.2),
    ("a few words", EventType.BRIEF_INTERRUPTION, 0.3, 1.5),
)
_CONVERSATION_SEED, _CONVERSATION_SPAN = 7, (20.0, 40.0)
_CALIBRATION = (60, 600.0)
"""Conversations and their seconds behind the figures of the page."""
_STYLE = (
    PAGE_STYLE
    + """
h3 { margin: 18px 0 6px; font-size: 15px; }
.grid { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); }
.grid.loops { grid-template-columns: repeat(auto-fill, minmax(176px, 1fr)); }
.grid.voices { grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); }
figure { margin: 0; }
figure img, figure video { width: 100%; display: block; border-radius: 8px; background: #ddd; }
figcaption { font-size: 13px; color: var(--soft); padding-top: 3px; }
audio { width: 100%; height: 34px; margin-top: 6px; }
.voices img { height: 110px; }
.pair { display: grid; grid-template-columns: minmax(260px, 400px) 1fr; gap: 20px; align-items: center; }
@media (max-width: 900px) { .pair { grid-template-columns: 1fr; } }
.lane, .second { font-size: 11px; fill: #6b7280; } .second { text-anchor: middle; }
.tick { stroke: #eeeeea; } .cause { fill: none; stroke: #23272e; stroke-opacity: .42; stroke-width: 1.1; }
circle { fill: #23272e; fill-opacity: .65; }
.key { font-size: 12px; color: var(--soft); margin-right: 12px; white-space: nowrap; }
.key i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 5px;
  vertical-align: -1px; }
table { font-size: 14px; width: 100%; }
th { text-align: left; font-size: 12px; color: var(--soft); font-weight: 600; }
td, th { padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); }
td.n { text-align: right; } .off { color: var(--bad); font-weight: 600; }
"""
)


def write_gallery(path: Path, *, faces: int = 24, voices: int = 6) -> None:
    """Write the page; it holds everything that it shows.

    Args:
        faces: training people on the contact sheet; half as many held-out ones follow.
        voices: people who speak.
    """
    graph = calibrated()
    body = [
        "<header><h1>The world of avatar_lab</h1><p>Two procedural people whose every reaction has a known cause. It "
        "shows that a model is wired right and can learn; it is no likeness of human conversation.</p></header>",
        _section(
            "Faces",
            "Sampled from one seed each, drawn at 64 pixels. Held-out people are never trained on.",
            f"<h3>training</h3>{_faces(TRAINING_PEOPLE, faces)}<h3>held out</h3>{_faces(HELD_OUT_PEOPLE, faces // 2)}",
        ),
        _section("Behaviours", "One event each, as it looks on the video.", _behaviours()),
        _section("Voices", "Source and filter, no words: rhythm, vowels and prosody are the point.", _voices(voices)),
        _section(
            "Conversations",
            "Side a on the left. Below each other: voice, cues, floor, head and face of either side; an arrow leads "
            "from a cue to the partner's response.",
            "".join(map(_conversation, ScenarioName)) + f"<div>{legend()}</div>",
        ),
        _section("Edges", "What makes one respond to the other.", _edges(graph.edges)),
        _section(
            "People and world",
            f"The log of {_CALIBRATION[0]} conversations of {_CALIBRATION[1]:.0f} s against human figures.",
            _calibration(),
        ),
    ]
    head = f"<meta charset='utf-8'><title>The world of avatar_lab</title><style>{_STYLE}</style>"
    path.parent.mkdir(parents=True, exist_ok=True)
    page = f"<head>{head}</head><body><main>{''.join(body)}</main></body>"
    path.write_text(f"<!doctype html><html lang='en'>{page}</html>\n")


def _section(title: str, note: str, content: str) -> str:
    return section(title, escape(note), f"<div class='wide'>{content}</div>")


def _figure(inside: str, caption: str = "") -> str:
    return f"<figure>{inside}<figcaption>{escape(caption)}</figcaption></figure>"


def _faces(people: range, count: int) -> str:
    still = np.zeros((1, len(FACE_CHANNELS)), np.float32)
    still[0, FACE_CHANNELS.index("smile")] = 0.25
    frames = [render_face(Person.sample(people[number]).appearance, still)[0] for number in range(count)]
    return f"<div class='grid'>{''.join(_figure(f'<img src={picture(frame)!r} alt=face>') for frame in frames)}</div>"


def _event(kind: EventType, start: float, end: float) -> Event:
    return Event(interaction="gallery", side="a", type=kind, start=start, end=end, event_id=1)


def _turn(noise: Noise, seconds: float) -> Turn:
    """Speech without a pause, from .2 s to nearly the end."""
    turn = plan_turn(noise, laws=HUMAN, side="a", index=0, start=0.2, talkativeness=0.0, at_least=seconds - 0.4)
    phrase = replace(turn.phrases[0], end=turn.end, final_fall=True)
    return replace(turn, cues=(), phrases=(phrase,), closing_start=None)


def _behaviours() -> str:
    layout, parts = Layout(), []
    for number, (caption, kind, start, end) in enumerate(_BEHAVIOURS):
        person, noise = Person.sample(TRAINING_PEOPLE[300 + number]), Noise(f"gallery{number}")
        tracks = build_tracks(
            person=person,
            events=[] if kind is None else [_event(kind, start, end)],
            turns=[_turn(noise, _LOOP_SECONDS)] if kind is None else [],
            seconds=_LOOP_SECONDS,
            layout=layout,
            noise=noise,
            mouth_gain=1.0,
        )
        frames_PHWC, _ = render_person(person, tracks, layout, noise.generator("sound"))
        video = f"<video autoplay loop muted playsinline src='{loop(frames_PHWC, layout)}'></video>"
        parts.append(_figure(video, caption))
    return f"<div class='grid loops'>{''.join(parts)}</div>"


def _voices(count: int) -> str:
    people = [Person.sample(TRAINING_PEOPLE[40 + number]) for number in range(count)]
    parts = [_voice(person, f"voice {number}", None) for number, person in enumerate(people, 1)]
    speaker = Person.sample(TRAINING_PEOPLE[43])
    parts += [_voice(speaker, caption, _event(kind, start, end)) for caption, kind, start, end in _SOUNDS]
    return f"<div class='grid voices'>{''.join(parts)}</div>"


def _voice(person: Person, caption: str, event: Event | None) -> str:
    layout, noise = Layout(), Noise(f"gallery voice {person.seed}")
    spoken = event is None or event.type in (EventType.LIVELY, EventType.HESITATION)
    seconds = 3.4 if spoken else 1.8
    turns = [_turn(noise, seconds)] if spoken else []
    if event is not None and event.type is EventType.HESITATION:
        turns = [replace(turns[0], muted=((event.end, event.end + 0.7),))]
    rows_RQ = voice_track(
        person.voice, turns=turns, events=[] if event is None else [event], seconds=seconds, noise=noise
    )
    wav_S = synthesize(person.voice, rows_RQ, layout.sample_rate, noise.generator("sound"))
    image = f"<img src='{spectrum(wav_S, layout.sample_rate)}' alt='spectrogram'>"
    player = f"<audio controls preload='none' src='{sound(wav_S, layout.sample_rate)}'></audio>"
    return _figure(image + player, f"{caption}, {person.voice.f0:.0f} Hz")


def _conversation(name: ScenarioName) -> str:
    layout, (start, end) = Layout(), _CONVERSATION_SPAN
    dialogue = simulate(_CONVERSATION_SEED, end + 4, graph=replace(calibrated(name), outages=None))
    frames, waves = [], []
    for side in SIDES:
        rng = dialogue.noise.generator("sound", side)
        frames_PHWC, wav_S = render_person(dialogue.persons[side], dialogue.tracks[side], layout, rng)
        frames.append(frames_PHWC[int(start * layout.fps) : int(end * layout.fps)])
        waves.append(wav_S[int(start * layout.sample_rate) : int(end * layout.sample_rate)])
    both = loop(np.concatenate(frames, axis=2), layout, np.clip(sum(waves), -1, 1).astype(np.float32))
    roles = " and ".join(SCENARIOS[name].roles)
    video = _figure(f"<video controls playsinline src='{both}'></video>", f"a and b: {roles}")
    title = escape(name.replace("_", " "))
    return f"<h3>{title}</h3><div class='pair'>{video}<div>{timeline(dialogue, start, end)}</div></div>"


def _edges(edges: tuple[Edge, ...]) -> str:
    rows = []
    for edge in edges:
        response = "mouth" if edge.response is None else edge.response
        delay = "none" if edge.delay is None else f"{edge.delay.low:.2f} to {edge.delay.high:.2f} s"
        who = "own" if edge.source is Source.OWN else "partner's"
        sense = "" if edge.source is Source.OWN else ("heard" if edge.sense == "audio" else "seen")
        cells = (f"{who} {edge.cue}", sense, str(response), f"{edge.probability:.2f}", delay)
        rows.append("".join(f"<td>{escape(cell.replace('_', ' '))}</td>" for cell in cells))
    head = "".join(f"<th>{name}</th>" for name in ("cue", "sense", "response", "probability", "delay"))
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _calibration() -> str:
    number, seconds = _CALIBRATION
    dialogues = [simulate(seed, seconds, graph=replace(calibrated(), outages=None)) for seed in range(number)]
    values = measure_floor([logged_floor(dialogue) for dialogue in dialogues]) | measure_faces(dialogues)
    rows = []
    for row in HUMAN_TABLE:
        mark = "" if row.met(values[row.name]) else " off"
        rows.append(
            f"<tr><td>{escape(row.name)}</td><td class='n{mark}'>{values[row.name]:.3f}</td>"
            f"<td class='n'>{row.figure.value:.3f}</td><td class='n'>{row.tolerance:.2f}</td><td>{row.figure.unit}</td>"
            f"<td>{escape(row.figure.source)}</td></tr>"
        )
    head = "".join(f"<th>{name}</th>" for name in ("quantity", "world", "people", "&#177;", "unit", "source"))
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"
