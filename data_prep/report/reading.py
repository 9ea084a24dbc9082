"""One recording's step results as figures: what the report counts, read from the work folder one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from avatar_lab.data.schema import SIDES
from avatar_lab.event_types import EventType, from_table
from avatar_lab.events.segments import Segment, overlap, total, without
from avatar_lab.events.shifts import Outcome, SilentMoment, find_shifts
from data_prep.manifest import Recording, SkipRecording
from data_prep.pipeline import Prepared
from data_prep.report.row import Row, SideRow
from data_prep.shard import Entry
from data_prep.steps import outages
from data_prep.steps.store import StepResult, StepStore
from data_prep.steps.voice import as_segments

READ_STEPS = ("probe", "sync", "track", "events", "bleed", "motion", "features")
"""Steps whose results hold figures; those of the codecs hold none."""
VISIBLE = (EventType.NOD, EventType.SMILE, EventType.BLINK, EventType.LEAN, EventType.GAZE_AWAY)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Figures of one recording.

    steps  that have a result
    """

    row: Row
    steps: frozenset[str] = frozenset()
    offsets: list[float] = field(default_factory=list)
    """Floor-transfer offsets, seconds."""
    turns: list[float] = field(default_factory=list)
    """Durations, seconds."""
    pauses: list[float] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    """The source's own, by type."""
    motion: Counter[str] = field(default_factory=Counter)
    """Found in the pictures, by type."""
    features: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the step on the data set's own arrays says of each side that has any."""


def read_used(entry: Entry, store: StepStore) -> Reading:
    """Figures of a recording that goes into the shards.

    Raises:
        ValueError: a result that the recording needs is gone.
    """
    results = results_of(entry, store, READ_STEPS)
    probed, events = results["probe"].values, results["events"]
    spans = _spans(events)
    shares, seconds = events.values["shares"], float(events.values["seconds"])
    offsets = [float(offset) for offset in events.values["floor_transfer_offsets"]]
    pauses = [end - start for side in SIDES for start, end in spans[side, EventType.PAUSE]]
    turns = {side: spans[side, EventType.TURN] for side in SIDES}
    silences = Counter(moment.outcome for moment in _moments(spans, events))
    synced = results["sync"].values if "sync" in results else {}
    seen = {side: _seen(side, results, spans) for side in SIDES}
    row = Row(
        **_origin(entry.recording),
        split=entry.split,
        has_pictures=all(f"{side}.video" in probed for side in SIDES),
        seconds=float(probed["seconds"]),
        speech_seconds=shares["speech"] * seconds,
        overlap_seconds=shares["overlap"] * seconds,
        overlap_without_backchannels_seconds=_overlap_of_floors(spans),
        silence_seconds=shares["silence"] * seconds,
        floor_transfers=len(offsets),
        floor_transfer_offset_mean=_mean(offsets),
        pause_mean=_mean(pauses),
        shifts=silences[Outcome.SHIFT],
        holds=silences[Outcome.HOLD],
        lag_seconds=synced.get("lag_seconds"),
        lag_confidence=synced.get("confidence"),
        sides={side: _side(side, entry.recording, results, spans, seen[side]) for side in SIDES},
    )
    return Reading(
        row=row,
        steps=frozenset(entry.keys),
        offsets=offsets,
        turns=[end - start for side in SIDES for start, end in turns[side]],
        pauses=pauses,
        events=Counter(events.tables["given_events"]["type"].to_pylist() if "given_events" in events.tables else []),
        motion=sum((found for found in seen.values() if found is not None), Counter()),
        features=results["features"].values if "features" in results else {},
    )


def results_of(entry: Entry, store: StepStore, steps: Iterable[str]) -> dict[str, StepResult]:
    """Results of those of ``steps`` that were run.

    Raises:
        ValueError: one is gone.
    """
    results = {}
    for step in steps:
        if step in entry.keys:
            result = store.load(step, entry.keys[step])
            if result is None:
                name = entry.recording.interaction
                raise ValueError(f"the result of step {step} on {name} vanished from the work folder: prepare again")
            results[step] = result
    return results


def read_dropped(recording: Recording, outcome: Prepared, store: StepStore) -> Reading:
    """What is known of a recording that is in no shard."""
    try:
        probed = store.load("probe", outcome.keys["probe"]) if "probe" in outcome.keys else None
    except SkipRecording:  # it was the probe that refused it
        probed = None
    row = Row(
        **_origin(recording),
        dropped=None if outcome.skip is None else str(outcome.skip),
        detail=outcome.detail,
        seconds=None if probed is None else float(probed.values["seconds"]),
        sides={
            side: SideRow(participant=recording.sides[side].participant if side in recording.sides else None)
            for side in SIDES
        },
    )
    return Reading(row=row)


def _origin(recording: Recording) -> dict[str, Any]:
    return {
        "interaction": recording.interaction,
        "source": recording.source,
        "group": recording.group,
        "license": recording.license,
        "non_commercial": recording.non_commercial,
    }


def _side(
    side: str,
    recording: Recording,
    results: Mapping[str, StepResult],
    spans: Mapping[tuple[str, EventType], list[Segment]],
    seen: Counter[str] | None,
) -> SideRow:
    other = SIDES[1 - SIDES.index(side)]
    probed, events = results["probe"].values, results["events"]
    video, audio = probed.get(f"{side}.video"), probed[f"{side}.audio"]
    face = results["track"].values[side] if "track" in results else {}
    script = [(start, end) for start, end in events.arrays[f"{side}.script"].tolist()]
    heard = spans[other, EventType.IPU]
    return SideRow(
        participant=recording.sides[side].participant,
        fps=None if video is None else float(Fraction(video["fps"])),
        width=None if video is None else video["width"],
        height=None if video is None else video["height"],
        sample_rate=audio["sample_rate"],
        channels=audio["channels"],
        sound_after_picture=None if video is None else audio["start"] - video["start"],
        speaking_seconds=total(spans[side, EventType.IPU]),
        listening_seconds=total(heard) - total(overlap(heard, script)),
        turns=len(spans[side, EventType.TURN]),
        backchannels=events.values["backchannels"][side],
        interruptions=events.values["interruptions"][side],
        laughs=events.values["laughs"][side] if "given_events" in events.tables else None,
        voice_agreement=events.values["voice_agreement"].get(side),
        face_from=face.get("origin"),
        face_share=face.get("share"),
        face_stray=face.get("stray"),
        isolation_db=results["bleed"].values["isolation_db"][side] if "bleed" in results else None,
        visible_events=None if seen is None else seen.total(),
        camera_off_seconds=_off(side, outages.CAMERA, events),
        microphone_off_seconds=_off(side, outages.MICROPHONE, events),
        **_brought(results["features"].values.get(side) if "features" in results else None),
    )


def _moments(spans: Mapping[tuple[str, EventType], list[Segment]], events: StepResult) -> list[SilentMoment]:
    """Shifts and holds, without those in which a microphone was off: that is no silence."""
    off = [span for side in SIDES for span in as_segments(events.arrays[f"{side}.{outages.MICROPHONE}"])]
    found = find_shifts({side: spans[side, EventType.IPU] for side in SIDES})
    return [moment for moment in found if not any(s < moment.end and e > moment.start for s, e in off)]


def _off(side: str, name: str, events: StepResult) -> float | None:
    """Seconds of an outage; ``None`` without a log that could tell."""
    known = "given_events" in events.tables
    return total(as_segments(events.arrays[f"{side}.{name}"])) if known else None


def _brought(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Columns on the data set's own arrays of one side."""
    if values is None:
        return {}
    out = [f"{name}: {note}" for name, note in values["left_out"].items()]
    if values["refused"] is not None:
        return {"feature_seconds": 0.0, "features_left_out": "; ".join([": ".join(values["refused"]), *out])}
    return {
        "feature_seconds": values["covered"],
        "feature_rate": values["rate"],
        "feature_extra_rows": values["extra_rows"],
        "feature_keys": ", ".join(values["arrays"]),
        "features_left_out": "; ".join(out) or None,
    }


def _spans(events: StepResult) -> dict[tuple[str, EventType], list[Segment]]:
    """Detected events by side and type, in order of time."""
    spans: dict[tuple[str, EventType], list[Segment]] = {(side, kind): [] for side in SIDES for kind in EventType}
    for event in from_table(events.tables["events"]):
        spans[event.side, event.type].append((event.start, event.end))
    return spans


def _overlap_of_floors(spans: Mapping[tuple[str, EventType], list[Segment]]) -> float:
    """Seconds in which both speak and neither only reacts."""
    a, b = (without(spans[side, EventType.IPU], spans[side, EventType.BACKCHANNEL]) for side in SIDES)
    return total(overlap(a, b))


def _seen(
    side: str, results: Mapping[str, StepResult], spans: Mapping[tuple[str, EventType], list[Segment]]
) -> Counter[str] | None:
    """Visible events by type; ``None`` where no curve of motion was known to find them in."""
    if "motion" not in results or not any(results["motion"].values["known"][side].values()):
        return None
    return Counter({str(kind): len(spans[side, kind]) for kind in VISIBLE if spans[side, kind]})


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
