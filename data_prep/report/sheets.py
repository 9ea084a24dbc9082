"""Contact sheets: pictures and events of a few random recordings as they are stored, a late side moved where that was
asked for; decoded by a process that can be killed.

The sample depends on names and a seed only: it is the same for any order of work, and new recordings change little of
it. Decoded pictures are stored like the result of a step, so a second report decodes nothing.

    N pictures of a side, in order of time
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import torch

from avatar_lab.data.schema import SIDES
from avatar_lab.event_types import Event, from_table
from data_prep.blob import Blob
from data_prep.manifest import SkipRecording
from data_prep.media.client import MediaClient
from data_prep.report.reading import VISIBLE, results_of
from data_prep.settings import Settings
from data_prep.shard import Entry
from data_prep.steps.crop import Crop
from data_prep.steps.probe import video_facts
from data_prep.steps.store import StepResult, StepStore, step_key
from data_prep.steps.track import Face

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class SheetRule:
    """Which contact sheets are made, and what they may cost."""

    count: int = 12
    seed: int = 0
    window: float = 24.0
    """Seconds of the conversation on a sheet."""
    pictures: int = 12
    """Of each person."""
    height: int = 120
    """Of a picture, in pixels."""
    budget: float = 90.0
    """Seconds after which no more is decoded; what is left is missing and said so."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One person's pictures (N, H, W, 3) uint8, or why there are none; crops in shares of a picture."""

    participant: str
    pictures_NHWC: np.ndarray | None
    missing: str = ""
    crops: tuple[Crop, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A stretch of one conversation, ``start`` to ``end`` in seconds."""

    interaction: str
    split: str
    start: float
    end: float
    strips: dict[str, Strip]
    events: list[Event]


def choose(entries: Iterable[Entry], rule: SheetRule) -> list[Entry]:
    """A random sample, in order of name."""

    def lot(entry: Entry) -> bytes:
        return sha256(f"{rule.seed}/{entry.recording.interaction}".encode()).digest()

    return sorted(heapq.nsmallest(rule.count, entries, key=lot), key=lambda entry: entry.recording.interaction)


def sheets(entries: Iterable[Entry], store: StepStore, *, rule: SheetRule, settings: Settings) -> Iterator[Sheet]:
    """The sheets of the chosen ``entries``, one at a time."""
    limits = settings.limits
    with MediaClient(replace(limits, timeout=min(limits.timeout, rule.budget))) as media:
        decoder = _Decoder(store, media, rule)
        for entry in choose(entries, rule):
            yield _sheet(entry, store, decoder, rule=rule, settings=settings)


def _sheet(entry: Entry, store: StepStore, decoder: _Decoder, *, rule: SheetRule, settings: Settings) -> Sheet:
    results = results_of(entry, store, ("probe", "sync", "events", "track"))
    probed, found = results["probe"], results["events"]
    seconds = float(probed.values["seconds"])
    lot = np.random.default_rng([rule.seed, *sha256(entry.recording.interaction.encode()).digest()[:4]])
    start = float(lot.uniform(0, max(0.0, seconds - rule.window)))
    end = min(start + rule.window, seconds)
    middle_N = start + (np.arange(rule.pictures) + 0.5) * (end - start) / rule.pictures
    shift = settings.sync.shifts(entry.recording, results["sync"]) if "sync" in results else {}
    strips = {}
    for side in SIDES:
        strip = decoder.strip(side, entry, probed, middle_N - shift.get(side, 0.0))
        tracked = results.get("track")
        if tracked is not None and f"{side}.video" in probed.values:
            size = {name: probed.values[f"{side}.video"][name] for name in ("width", "height")}
            strip = replace(strip, crops=settings.crops.at(Face(**tracked.values[side]), **size))
        strips[side] = strip
    return Sheet(
        interaction=entry.recording.interaction,
        split=entry.split,
        start=start,
        end=end,
        strips=strips,
        events=[event for event in _noticed(found) if event.end >= start and event.start < end],
    )


def _noticed(found: StepResult) -> list[Event]:
    """Voice as found, and what is seen: each kind from the source's own log where that has it, else as found."""
    given = found.tables.get("given_events")
    logged = [] if given is None else [event for event in from_table(given) if event.type in VISIBLE]
    known = {event.type for event in logged}
    return [event for event in from_table(found.tables["events"]) if event.type not in known] + logged


class _Decoder:
    """Pictures of one person after the other, within the budget."""

    def __init__(self, store: StepStore, media: MediaClient, rule: SheetRule) -> None:
        self._store, self._media, self._rule = store, media, rule
        self._deadline = time.monotonic() + rule.budget

    def strip(self, side: str, entry: Entry, probed: StepResult, times_N: np.ndarray) -> Strip:
        """The pictures that the file of ``side`` shows at ``times_N`` of its own clock."""
        files = entry.recording.sides[side]
        strip = Strip(participant=files.participant, pictures_NHWC=None)
        if files.video is None or f"{side}.video" not in probed.values:
            return replace(strip, missing="no pictures in this recording")
        params = {"side": side, "times": times_N.tolist(), "height": self._rule.height}
        key = step_key("sheet", VERSION, params, {"probe": entry.keys["probe"]})
        stored = self._store.load("sheet", key)
        if stored is None and time.monotonic() > self._deadline:
            return replace(strip, missing=f"not decoded: the {self._rule.budget:g} s for contact sheets were over")
        if stored is None:
            try:
                stored = StepResult(arrays={"pictures": self._decode(files.video, probed, side, times_N)})
            except SkipRecording as skip:
                return replace(strip, missing=f"not decoded: {skip}")
            self._store.save("sheet", key, stored)
        return replace(strip, pictures_NHWC=stored.arrays["pictures"])

    def _decode(self, video: Blob, probed: StepResult, side: str, times_N: np.ndarray) -> np.ndarray:
        """Small pictures (N, H, W, 3)."""
        facts = video_facts(probed, side)
        index_N = np.clip(np.searchsorted(facts.pts_P, times_N, side="right") - 1, 0, len(facts.pts_P) - 1)
        size = {"height": self._rule.height, "width": max(1, round(self._rule.height * facts.width / facts.height))}
        pieces = self._media.frames(video, index_N, facts, chunk=len(index_N))
        return np.concatenate([Crop().apply(torch.from_numpy(piece), **size).numpy() for piece in pieces])
