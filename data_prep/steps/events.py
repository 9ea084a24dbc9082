"""Step 7, events: turns and vocal reactions by the detectors' rules, the same for every source.

The source's own log is stored beside what the detectors find. Visible events are found where there are curves of motion
(``motion.py``); what the log knows about a kind of them goes before what was found. Laughs are taken from it, since the
energy of a laugh is that of speech; where there is a transcript instead, short voice in which nobody wrote down a word
counts as a vocal reaction. Where it says that a camera or a microphone was off, nothing is found in what they gave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avatar_lab.data.schema import SIDES
from avatar_lab.event_types import Event, EventType, from_table, to_table
from avatar_lab.events.battery import durations
from avatar_lab.events.reactions import inter_pausal_units, overlapping_ipus, wordless_ipus
from avatar_lab.events.segments import Segment, covered_seconds, merge_close, overlap, total
from avatar_lab.events.turns import FloorTransfer, TurnTaking, find_turns, speech_shares, turn_events
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.notes import Notes, SpeechNotes
from data_prep.steps import outages
from data_prep.steps.store import StepResult
from data_prep.steps.voice import as_array, as_segments

VERSION = 4
VOCAL = frozenset({EventType.BACKCHANNEL, EventType.LAUGH, EventType.TURN_START})
VISIBLE = frozenset({EventType.NOD, EventType.SMILE, EventType.LEAN})
"""Onsets that the window sampler weighs: vocal ones as detected, visible ones as the source knows them or, kinds of
which it says nothing, as found."""


def find_events(
    speech: dict[str, list[Segment]],
    *,
    seconds: float,
    interaction: str,
    given: Path | None,
    notes: dict[str, Notes],
    shift: dict[str, float] | None = None,
    visible: Sequence[Event] = (),
) -> StepResult:
    """Events of one interaction of ``seconds`` in which the sides speak as ``speech`` says.

    Args:
        shift: seconds by which a side was moved on the media clock; what was noted on its file moves along.
        visible: events found in curves of motion.

    Tables: ``events`` (found), ``given_events`` (where the source has any). Arrays: ``<side>.speech`` and
    ``<side>.script`` segments (n, 2) in seconds, ``<side>.reactions`` onsets and ``<side>.listening`` percent per
    second, and those of ``outages.find_outages``. Values: figures for the report.
    """
    shift = {side: (shift or {}).get(side, 0.0) for side in SIDES}
    given_events = [] if given is None else _read_given(given, shift)
    off = outages.find_outages(given_events)
    visible = outages.untouched(visible, off, outages.CAMERA)
    laughs = {
        side: [(e.start, e.end) for e in given_events if e.side == side and e.type is EventType.LAUGH] for side in SIDES
    }
    said = {side: load_notes(notes[side], shift[side]) for side in SIDES if side in notes}
    reactions = {}
    for side in SIDES:
        ipus = inter_pausal_units(speech[side])
        # An empty transcript of someone who spoke is a missing one.
        words = said[side].words if side in said else None
        reactions[side] = overlapping_ipus(ipus, laughs[side]) + (wordless_ipus(ipus, words) if words else [])
    floor = find_turns(speech["a"], speech["b"], vocal_reactions=reactions)
    turn_taking = turn_events(floor, interaction=interaction)
    silent = outages.untouched([e for e in turn_taking if e.type is EventType.PAUSE], off, outages.MICROPHONE)
    events = [e for e in turn_taking if e.type is not EventType.PAUSE] + silent + visible
    for side in SIDES:
        for kind, spans in ((EventType.BACKCHANNEL, floor.backchannels[side]), (EventType.LAUGH, laughs[side])):
            events += [Event(interaction=interaction, side=side, type=kind, start=s, end=e) for s, e in spans]
    events = [replace(event, event_id=index) for index, event in enumerate(sorted(events, key=lambda e: e.start))]
    logged = {event.type for event in given_events}
    known = given_events + [event for event in visible if event.type not in logged]
    arrays: dict[str, np.ndarray] = dict(off)
    for side, other in zip(SIDES, reversed(SIDES), strict=True):
        arrays[f"{side}.speech"] = as_array(speech[side])
        arrays[f"{side}.script"] = as_array(floor.script(side))
        onsets = [e.start for e in events if e.side == side and e.type in VOCAL]
        onsets += [e.start for e in known if e.side == side and e.type in VISIBLE]
        arrays[f"{side}.reactions"] = _per_second(onsets, seconds)
        arrays[f"{side}.listening"] = _listening(floor, side, other, seconds)
    tables = {"events": to_table(events)}
    if given is not None:
        tables["given_events"] = to_table(given_events)
    heard = [transfer for transfer in floor.transfers if not _in_outage(transfer, off)]
    figures = _figures(floor, heard, laughs, seconds) | {
        "voice_agreement": _agreement(speech, said),
        "visible": {side: dict(Counter(str(e.type) for e in visible if e.side == side)) for side in SIDES},
    }
    return StepResult(values=figures, arrays=arrays, tables=tables)


def _read_given(path: Path, shift: dict[str, float]) -> list[Event]:
    try:
        events = from_table(pq.read_table(path, use_threads=False))
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise SkipRecording(SkipReason.BAD_EVENTS, f"{path.name}: {error}") from error
    if not any(shift.values()):
        return events
    return [replace(e, start=e.start + shift[e.side], end=e.end + shift[e.side]) for e in events]


def load_notes(notes: Notes, shift: float = 0.0) -> SpeechNotes:
    """What a transcript says, ``shift`` seconds later.

    Raises:
        SkipRecording: it is damaged.
    """
    try:
        said = notes.load()
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SkipRecording(SkipReason.BAD_FEATURES, f"{notes.blob.name}: {error}") from error
    return SpeechNotes(words=_moved(said.words, shift), voice=_moved(said.voice, shift))


def _moved(segments: list[Segment] | None, shift: float) -> list[Segment] | None:
    return segments if segments is None or not shift else [(start + shift, end + shift) for start, end in segments]


def _agreement(speech: dict[str, list[Segment]], said: dict[str, SpeechNotes]) -> dict[str, float]:
    """Voice found by both detectors over voice found by either, by side; drop-outs of the data set's own show here."""
    shares = {}
    for side, notes in said.items():
        if notes.voice is not None:
            theirs = merge_close(notes.voice, min_gap=0.0)
            both = total(overlap(speech[side], theirs))
            either = total(speech[side]) + total(theirs) - both
            shares[side] = both / either if either else 1.0
    return shares


def _per_second(onsets: list[float], seconds: float) -> np.ndarray:
    counts, _ = np.histogram(onsets, bins=np.arange(int(np.ceil(seconds)) + 1))
    return np.minimum(counts, 255).astype(np.uint8)


def _listening(floor: TurnTaking, side: str, other: str, seconds: float) -> np.ndarray:
    """Percent of each second in which the other holds the floor by speaking and ``side`` does not speak its script."""
    count = int(np.ceil(seconds))
    heard = covered_seconds(floor.ipus[other], rate=1.0, count=count)
    talked_over = covered_seconds(overlap(floor.ipus[other], floor.script(side)), rate=1.0, count=count)
    return np.clip(np.round(100 * (heard - talked_over)), 0, 100).astype(np.uint8)


def _in_outage(transfer: FloorTransfer, off: dict[str, np.ndarray]) -> bool:
    """Whether a microphone was off in the gap of ``transfer``, which is no gap then."""
    gap = [(transfer.time - transfer.offset, transfer.time)]
    return any(overlap(gap, as_segments(off[f"{side}.{outages.MICROPHONE}"])) for side in SIDES)


def _figures(
    floor: TurnTaking, transfers: list[FloorTransfer], laughs: dict[str, list[Segment]], seconds: float
) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "lengths": {kind: [round(each, 3) for each in found] for kind, found in durations(floor.ipus).items()},
        "shares": speech_shares(floor, seconds=seconds),
        "turns": len(floor.turns),
        "floor_transfer_offsets": [round(transfer.offset, 3) for transfer in transfers],
        "backchannels": {side: len(floor.backchannels[side]) for side in SIDES},
        "interruptions": {side: len(floor.interruptions[side]) for side in SIDES},
        "laughs": {side: len(laughs[side]) for side in SIDES},
    }
