"""A few recordings really prepared and timed before the others are: what the extrapolation of a plan rests on.

They are prepared into the work folder, so the preparation does not do them again; what they cost is remembered there,
so the next plan does not time them again.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.data.schema import INDEX_NAME, read_index
from data_prep.headers import Extent
from data_prep.manifest import Recording
from data_prep.meter import Cost
from data_prep.pipeline import Pipeline, Prepared
from data_prep.pool import LoadAudio, LoadVideo, outcomes
from data_prep.settings import Settings
from data_prep.shard import Entry, ShardWriter
from data_prep.steps.store import StepStore

log = logging.getLogger(__name__)

PLAN_FOLDER = "plan"
"""Of the work folder; hidden folders in it are swept like half results of steps."""
_LOOKED_UP = 100
"""Recordings of which a plan asks whether they are already prepared."""
_TAR_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class SampleRule:
    """How much a plan may read and run.

    recordings  to be timed, and seconds  of media in them, at most (but always one recording)
    headers     recordings whose headers are read; of more than that, this many are drawn
    """

    recordings: int = 4
    seconds: float = 600.0
    headers: int = 2000


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One timed recording."""

    extent: Extent
    costs: dict[str, Cost]
    result_bytes: int
    shard_bytes: int
    """0 where no shards were asked for."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What was timed, and what was met on the way."""

    timed: list[Timed]
    skipped: list[Prepared]
    """Recordings that looked usable by their headers and were not."""
    stored_share: float
    """Of the recordings that no plan has timed, the part that was already prepared."""
    collect_seconds: float
    """Looking up the results of the timed ones and writing their shards, in one process."""


def take_sample(
    candidates: Sequence[tuple[Recording, Extent]],
    *,
    settings: Settings,
    load_audio: LoadAudio,
    load_video: LoadVideo,
    workers: int,
    rule: SampleRule,
    max_shard_bytes: int,
) -> Sample:
    """Prepare and time the first of ``candidates`` that fit into ``rule``, in as many processes as the real run has."""
    memory = _CostMemory(settings.work)
    extents = {recording.interaction: extent for recording, extent in candidates}
    audio, video = load_audio(), load_video()
    with Pipeline(settings, audio, video) as pipeline:
        looked_up = {r.interaction: pipeline.recall(r) for r, _ in candidates[:_LOOKED_UP]}
        stored = {name for name, outcome in looked_up.items() if outcome is not None and not memory.knows(outcome)}
        unknown = {name for name, outcome in looked_up.items() if outcome is None or name in stored}
        chosen = _fitting([r for r, _ in candidates[:_LOOKED_UP] if r.interaction not in stored], extents, rule)
        found = {}
        if chosen:
            seconds = sum(extents[recording.interaction].seconds or 0.0 for recording in chosen)
            log.info("timing %d recordings, %.0f s of media, with %d workers", len(chosen), seconds, workers)
            for outcome in outcomes(chosen, settings, load_audio, load_video, workers=workers):
                memory.add(outcome)
                found[outcome.interaction] = outcome
            memory.save()
        whole = [recording for recording in chosen if found[recording.interaction].skip is None]
        began = time.perf_counter()
        for recording in whole:
            pipeline.recall(recording)
        entries = [Entry(recording=r, split="all", keys=found[r.interaction].keys) for r in whole]
        shard_bytes = _written(entries, settings, audio, video, max_shard_bytes) if settings.steps is None else {}
        collect_seconds = time.perf_counter() - began
    timed = [
        Timed(
            extent=extents[entry.recording.interaction],
            costs=memory.costs(entry.recording.interaction),
            result_bytes=_result_bytes(settings.work, entry.keys),
            shard_bytes=shard_bytes.get(entry.recording.interaction, 0),
        )
        for entry in entries
    ]
    return Sample(
        timed=timed,
        skipped=[outcome for outcome in found.values() if outcome.skip is not None],
        stored_share=len(stored) / len(unknown) if unknown else 0.0,
        collect_seconds=collect_seconds,
    )


def _fitting(recordings: Sequence[Recording], extents: dict[str, Extent], rule: SampleRule) -> list[Recording]:
    """The first ones within the rule, or the shortest."""
    chosen: list[Recording] = []
    left = rule.seconds
    for recording in recordings:
        seconds = extents[recording.interaction].seconds or 0.0
        if len(chosen) < rule.recordings and seconds <= left:
            chosen.append(recording)
            left -= seconds
    return chosen or sorted(recordings, key=lambda r: extents[r.interaction].seconds or 0.0)[:1]


def _written(
    entries: Sequence[Entry], settings: Settings, audio: AudioCodec, video: VideoCodec, max_shard_bytes: int
) -> dict[str, int]:
    """Bytes of each entry in a shard, from shards that are written and removed again."""
    if not entries:
        return {}
    folder = settings.work / PLAN_FOLDER / f".shards.{time.time_ns()}"
    writer = ShardWriter(
        out=folder,
        store=StepStore(settings.work),
        settings=settings,
        audio_codec=audio,
        video_codec=video,
        max_shard_bytes=max_shard_bytes,
    )
    try:
        writer.write(entries)
        rows = read_index(folder / INDEX_NAME)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {row.interaction: sum(_in_tar(member.size) for member in row.members) for row in rows}


def _in_tar(size: int) -> int:
    return _TAR_BLOCK + -(-size // _TAR_BLOCK) * _TAR_BLOCK


def _result_bytes(work: Path, keys: dict[str, str]) -> int:
    return sum(path.stat().st_size for step, key in keys.items() for path in (work / step / key).iterdir())


class _CostMemory:
    """Costs of timed recordings, valid for exactly the step results that they produced."""

    def __init__(self, work: Path) -> None:
        self._path = work / PLAN_FOLDER / "costs.json"
        self._known: dict[str, dict[str, Any]] = {}
        if self._path.is_file():
            self._known = json.loads(self._path.read_text())

    def knows(self, outcome: Prepared) -> bool:
        return self._known.get(outcome.interaction, {}).get("keys") == outcome.keys

    def add(self, outcome: Prepared) -> None:
        """Remember a recording that was computed just now."""
        if outcome.computed and outcome.skip is None:
            costs = {step: asdict(cost) for step, cost in outcome.costs.items()}
            self._known[outcome.interaction] = {"keys": outcome.keys, "costs": costs}

    def costs(self, interaction: str) -> dict[str, Cost]:
        return {step: Cost(**cost) for step, cost in self._known[interaction]["costs"].items()}

    def save(self) -> None:
        """Write so that the file is either the old or the new one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_name(f".{self._path.name}.{time.time_ns()}")
        unfinished.write_text(json.dumps(self._known, indent=1))
        unfinished.replace(self._path)
