"""The rows of the human table, measured in conversations.

Who holds the floor is a :class:`FloorSample`, whether it comes from the world's own log or from detectors that listened
to the sound. Floor-transfer offset is start(new turn) - end(old turn), backchannels and interruptions excluded.

    G  grid cells of 50 ms
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from avatar_lab.event_types import Event, EventType
from avatar_lab.human import Statistic
from avatar_lab.world.dialogue import SIDES, Dialogue, partner_of
from avatar_lab.world.motion import nod_cycles
from avatar_lab.world.spans import Spans

Span = tuple[float, float]
_CELL = 0.05
_FLOOR_SPEECH = (EventType.IPU, EventType.BRIEF_INTERRUPTION)
_REACTIONS = (EventType.BACKCHANNEL, EventType.LAUGH)
_INTERRUPTIONS = (EventType.INTERRUPTION, EventType.BRIEF_INTERRUPTION)


@dataclass(frozen=True, kw_only=True)
class FloorSample:
    """Who spoke when in one conversation of ``seconds``."""

    seconds: float
    turns: Sequence[tuple[str, float, float]]
    """(side, start, end)."""
    speech: dict[str, Spans]
    """All voice of either side except backchannels and laughs."""
    reactions: dict[str, Spans]
    pauses: Sequence[float]
    """Lengths of the silences inside turns."""
    backchannels: int
    interruptions: int
    laughs: int


def logged_floor(dialogue: Dialogue) -> FloorSample:
    """From the log, with pauses of less than 200 ms, which it leaves out, from the plans of the turns."""
    seconds = dialogue.seconds
    count = {kind: len([event for event in dialogue.events if event.type is kind]) for kind in EventType}
    lengths = [cue.end - cue.onset for turn in dialogue.turns for cue in turn.cues if cue.onset < seconds]
    return FloorSample(
        seconds=seconds,
        turns=[(e.side, e.start, e.end) for e in dialogue.events if e.type is EventType.TURN],
        speech={side: _spans(dialogue, side, _FLOOR_SPEECH) for side in SIDES},
        reactions={side: _spans(dialogue, side, _REACTIONS) for side in SIDES},
        pauses=[length for length in lengths if length > 0],
        backchannels=count[EventType.BACKCHANNEL],
        interruptions=sum(count[kind] for kind in _INTERRUPTIONS),
        laughs=count[EventType.LAUGH],
    )


def measure_floor(samples: Sequence[FloorSample]) -> dict[str, float]:
    """Values of ``FLOOR_ROWS`` (and more) by name, pooled over conversations."""
    minutes = sum(sample.seconds for sample in samples) / 60
    offsets, lengths, overlaps = [], [], 0
    silent = both = 0.0
    spoken = dict.fromkeys(SIDES, 0.0)
    for sample in samples:
        turns = sorted(sample.turns, key=lambda turn: turn[1])
        offsets += [new[1] - old[2] for old, new in pairwise(turns) if old[0] != new[0]]
        lengths += [end - start for _, start, end in turns if end < sample.seconds]
        cells = {side: _cells(sample.speech[side]) for side in SIDES}
        voiced_G = np.any([*cells.values(), *(_cells(spans) for spans in sample.reactions.values())], axis=0)
        silent += _CELL * float((~voiced_G).sum())
        both_G = cells["a"] & cells["b"]
        both += _CELL * float(both_G.sum())
        overlaps += int((np.diff(both_G.astype(int), prepend=0) == 1).sum())
        for side in SIDES:
            spoken[side] += sample.speech[side].length
    offset, pause = np.asarray(offsets), np.concatenate([np.asarray(sample.pauses) for sample in samples])
    gap, overlap = offset[offset > 0], offset[offset < 0]
    rows = {
        "floor-transfer offset": _figures(offset),
        "gap": _figures(gap),
        "overlap at transfer": _figures(overlap),
        "pause": _figures(pause[pause >= _CELL]),
        "turn": _figures(np.asarray(lengths)),
    }
    counts = {
        "floor transfers": len(offset),
        "backchannels": sum(sample.backchannels for sample in samples),
        "overlaps": overlaps,
        "interruptions": sum(sample.interruptions for sample in samples),
        "laughs": sum(sample.laughs for sample in samples),
    }
    values = {f"{name} {figure}": value for name, figures in rows.items() for figure, value in figures.items()}
    values |= {f"{name} {Statistic.PER_MINUTE}": count / minutes for name, count in counts.items()}
    return values | {
        f"transfers in overlap {Statistic.SHARE}": float((offset < 0).mean()),
        f"silence {Statistic.SHARE}": silent / minutes / 60,
        f"overlap {Statistic.SHARE}": both / minutes / 60,
        f"balance {Statistic.MEAN}": spoken["a"] / (spoken["a"] + spoken["b"]),
    }


def measure_faces(dialogues: Sequence[Dialogue]) -> dict[str, float]:
    """Values of ``FACE_ROWS`` by name."""
    looking, length = np.zeros(2), np.zeros(2)
    blinks, mutual, glances = np.zeros(2), [], []
    by_person: list[int] = []
    nods: list[float] = []
    smiles: list[float] = []
    for dialogue in dialogues:
        turn = {side: _cells(_spans(dialogue, side, (EventType.TURN,))) for side in SIDES}
        away = {side: _cells(_spans(dialogue, side, (EventType.GAZE_AWAY,))) for side in SIDES}
        mutual.append(float((~away["a"] & ~away["b"]).mean()))
        for side in SIDES:
            states = (turn[side], turn[partner_of(side)] & ~turn[side])
            looking += [(state_G & ~away[side]).sum() for state_G in states]
            length += [state_G.sum() for state_G in states]
            blinks += [sum(_at(state_G, event) for event in dialogue.of(side, EventType.BLINK)) for state_G in states]
            by_person.append(len(dialogue.of(side, EventType.BLINK)))
            gazes = sorted(dialogue.of(side, EventType.GAZE_AWAY), key=lambda event: event.start)
            glances += [after.start - before.end for before, after in pairwise(gazes)]
            nods += [nod_cycles(e.end - e.start) / (e.end - e.start) for e in dialogue.of(side, EventType.NOD)]
            theirs = {event.event_id for event in dialogue.of(partner_of(side), EventType.SMILE)}
            answers = [e.delay for e in dialogue.of(side, EventType.SMILE) if e.cause_id in theirs]
            smiles += [delay for delay in answers if delay is not None]
    shares, rates = looking / length, blinks / length / _CELL * 60
    return {
        f"blinks talking {Statistic.PER_MINUTE}": float(rates[0]),
        f"blinks talking {Statistic.LOG_SPREAD}": float(np.log(np.maximum(by_person, 1)).std()),
        f"blinks at rest {Statistic.PER_MINUTE}": float(rates[1]),
        f"gaze at partner talking {Statistic.SHARE}": float(shares[0]),
        f"gaze at partner listening {Statistic.SHARE}": float(shares[1]),
        f"mutual gaze {Statistic.SHARE}": float(np.mean(mutual)),
        f"glance at partner {Statistic.MEAN}": float(np.mean(glances)),
        f"nod frequency {Statistic.MEAN}": float(np.mean(nods)),
        f"smiles mirrored within a second {Statistic.SHARE}": float((np.asarray(smiles) < 1).mean()),
    }


def _figures(values: np.ndarray) -> dict[Statistic, float]:
    return {
        Statistic.MEAN: float(values.mean()),
        Statistic.P10: float(np.quantile(values, 0.1)),
        Statistic.P50: float(np.median(values)),
        Statistic.P90: float(np.quantile(values, 0.9)),
    }


def _spans(dialogue: Dialogue, side: str, kinds: Iterable[EventType]) -> Spans:
    events = [event for kind in kinds for event in dialogue.of(side, kind)]
    return Spans.of([(event.start, event.end) for event in events], dialogue.seconds)


def _cells(spans: Spans) -> np.ndarray:
    """Cells (G,) whose middle lies in a span."""
    covered_G = np.zeros(int(spans.total / _CELL), bool)
    for start, end in spans.spans:
        covered_G[round(start / _CELL) : round(end / _CELL)] = True
    return covered_G


def _at(state_G: np.ndarray, event: Event) -> bool:
    return bool(state_G[min(int(event.start / _CELL), len(state_G) - 1)])
