"""What a preparation would cost, before it runs: lengths by the headers of all files, speed by a few timed recordings.

Lengths are measured where every header was read, and extrapolated where only some were; speed is always extrapolated.
Cost grows with bytes (reading), source pixels (decoding) or seconds (everything else); intervals say how much the timed
recordings differ, not how much another machine or a busy one does.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from data_prep.estimate import Estimate, ratio_of, total_of
from data_prep.headers import Extent, Headers
from data_prep.manifest import Recording, SkipReason
from data_prep.meter import Cost
from data_prep.pool import LoadAudio, LoadVideo
from data_prep.selection import Share
from data_prep.settings import Settings
from data_prep.timed_sample import Sample, SampleRule, Timed, take_sample

log = logging.getLogger(__name__)

ENCODING = frozenset({"encode", "augment", "pictures"})
"""Steps that run codecs."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Figures of all recordings that are still to be prepared, unless said otherwise."""

    recordings: int
    population: int
    """Recordings without the problems that the source knows of."""
    headers: int
    """Of these, how many headers were read."""
    dropped: dict[str, int]
    """By reason: what the source knows of all recordings, and the headers of those that were read."""
    usable: Estimate
    hours: Estimate
    frames: Estimate
    bytes_in: Estimate
    timed: int
    timed_seconds: float
    skipped_when_timed: dict[str, int]
    stored_share: float
    decode_core_hours: Estimate
    encode_core_hours: Estimate
    """0 where the codecs run on an accelerator."""
    encode_gpu_hours: Estimate
    other_core_hours: Estimate
    result_bytes: Estimate
    shard_bytes: Estimate
    prepare_seconds: Estimate
    """On the clock, of the slowest of ``tasks`` tasks with ``workers`` processes each."""
    collect_seconds: Estimate
    steps: list[str] | None
    """``None``: all, and shards."""
    tasks: int
    workers: int
    cores_per_worker: float
    cores: int
    """Of this machine."""

    def to_plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {name: value.to_plain() if isinstance(value, Estimate) else value for name, value in vars(self).items()}


def make_plan(
    recordings: Sequence[Recording],
    *,
    settings: Settings,
    load_audio: LoadAudio,
    load_video: LoadVideo,
    workers: int,
    share: Share,
    rule: SampleRule,
    max_shard_bytes: int,
) -> Plan:
    """Read headers, time a few recordings, extrapolate.

    Raises:
        ValueError: no recording looks usable.
    """
    dropped = Counter(known for r in recordings if (known := _known_problem(r)) is not None)
    open_to_us = sorted((r for r in recordings if _known_problem(r) is None), key=_drawn)
    drawn = open_to_us[: rule.headers]
    if len(drawn) < len(open_to_us):
        log.info("reading the headers of %d of %d recordings, drawn by hash", len(drawn), len(open_to_us))
    usable: list[tuple[Recording, Extent]] = []
    with Headers(settings.work, settings.limits, readers=max(1, workers)) as headers:
        for recording, extent in headers.extents(drawn):
            reason = _problem(extent, settings)
            if reason is None:
                usable.append((recording, extent))
            else:
                dropped[reason] += 1
    if not usable:
        raise ValueError(
            f"of {len(drawn)} recordings none looks usable by its headers ({dict(sorted(dropped.items()))}): check the "
            "source folder, min_seconds and limits"
        )
    sample = take_sample(
        usable,
        settings=settings,
        load_audio=load_audio,
        load_video=load_video,
        workers=workers,
        rule=rule,
        max_shard_bytes=max_shard_bytes,
    )
    found = _extrapolated(
        [extent for _, extent in usable],
        len(drawn),
        len(open_to_us),
        sample,
        workers=max(1, workers),
        share=share,
    )
    return Plan(
        recordings=len(recordings),
        population=len(open_to_us),
        headers=len(drawn),
        dropped=dict(sorted(dropped.items())),
        timed=len(sample.timed),
        timed_seconds=sum(timed.extent.seconds or 0.0 for timed in sample.timed),
        skipped_when_timed=dict(Counter(str(outcome.skip) for outcome in sample.skipped)),
        stored_share=sample.stored_share,
        steps=None if settings.steps is None else sorted(settings.steps),
        tasks=share.count,
        workers=workers,
        cores=_cores(),
        **found,
    )


def _extrapolated(
    usable: Sequence[Extent], drawn: int, population: int, sample: Sample, *, workers: int, share: Share
) -> dict[str, Any]:
    unusable = [0.0] * (drawn - len(usable))

    def total(values: Sequence[float]) -> Estimate:
        return total_of([*values, *unusable], population=population)

    seconds = total([extent.seconds or 0.0 for extent in usable])
    pixels = total([float(extent.pixels) for extent in usable])
    bytes_in = total([float(extent.bytes) for extent in usable])
    left = 1.0 - sample.stored_share
    by_seconds = [timed.extent.seconds or 0.0 for timed in sample.timed]

    def per_second(costs: Sequence[float]) -> Estimate:
        return ratio_of(costs, by_seconds, population=population).times(seconds)

    def by_size(costs: Sequence[float], sizes: Sequence[int], size: Estimate) -> Estimate:
        return ratio_of(costs, sizes, population=population).times(size) if any(sizes) else per_second(costs)

    reading = by_size(
        [_sum(t, {"digests"}).core for t in sample.timed], [t.extent.bytes for t in sample.timed], bytes_in
    )
    decode = by_size([_all(t).decode for t in sample.timed], [t.extent.pixels for t in sample.timed], pixels)
    encoding = [_sum(t, ENCODING) for t in sample.timed]
    on_gpu = any(cost.accelerator for cost in encoding)
    encode = per_second([cost.wall if on_gpu else cost.core for cost in encoding])
    other = reading + per_second([_sum(t, set(t.costs) - ENCODING - {"digests"}).core for t in sample.timed])
    wall = per_second([_all(t).wall for t in sample.timed])
    everything = [_all(t) for t in sample.timed]
    busy = sum(c.core + c.decode for c in everything) / max(1e-9, sum(c.wall for c in everything))
    crowded = max(1.0, workers * busy / _cores())
    longest = max((extent.seconds or 0.0 for extent in usable), default=0.0) / max(1e-9, seconds.value)
    part = max(left * crowded / (workers * share.count), longest if left else 0.0)
    shard_bytes = per_second([float(t.shard_bytes) for t in sample.timed])
    result_bytes = per_second([float(t.result_bytes) for t in sample.timed])
    collect = sample.collect_seconds / max(1, sum(t.result_bytes for t in sample.timed))
    nothing = Estimate(value=0.0)
    return {
        "usable": total([1.0] * len(usable)),
        "hours": seconds.scaled(1 / 3600),
        "frames": total([float(extent.frames) for extent in usable]),
        "bytes_in": bytes_in,
        "decode_core_hours": decode.scaled(left / 3600),
        "encode_core_hours": nothing if on_gpu else encode.scaled(left / 3600),
        "encode_gpu_hours": encode.scaled(left / 3600) if on_gpu else nothing,
        "other_core_hours": other.scaled(left / 3600),
        "result_bytes": result_bytes,
        "shard_bytes": shard_bytes,
        "prepare_seconds": wall.scaled(part),
        "collect_seconds": result_bytes.scaled(collect),
        "cores_per_worker": busy,
    }


def _known_problem(recording: Recording) -> str | None:
    """Why a recording cannot be used, as far as the source says."""
    if recording.problem is not None:
        return recording.problem[0]
    return SkipReason.MISSING_PARTNER if len(recording.sides) < 2 else None


def _problem(extent: Extent, settings: Settings) -> str | None:
    """Why a recording cannot be used, as far as its headers say."""
    if extent.problem is not None:
        return extent.problem[0]
    if extent.seconds is None or extent.longest is None:
        return "length not in header"
    if extent.longest > settings.limits.max_seconds:
        return SkipReason.TOO_LARGE
    if extent.longest - extent.seconds > settings.max_mismatch:
        return SkipReason.MISMATCHED
    return SkipReason.TOO_SHORT if extent.seconds < settings.min_seconds else None


def _drawn(recording: Recording) -> bytes:
    """A fixed order that has nothing to do with names, lengths or sessions."""
    return sha256(recording.interaction.encode()).digest()


def _sum(timed: Timed, steps: frozenset[str] | set[str]) -> Cost:
    return sum((cost for step, cost in timed.costs.items() if step in steps), start=Cost())


def _all(timed: Timed) -> Cost:
    return _sum(timed, set(timed.costs))


def _cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
