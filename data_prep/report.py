"""The preparation report, ``report.json`` and ``report.md``: what came in, what was dropped, what the rest is like."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatar_lab.data.schema import SIDES
from data_prep.pipeline import Prepared
from data_prep.shard import Entry
from data_prep.steps.store import StepStore

_MAX_LISTED = 50
"""Skipped recordings listed by name in the markdown; the JSON has all."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """What the run cost."""

    wall_seconds: float
    computed_seconds: float
    """Media time of the recordings that were not already done."""
    workers: int

    @property
    def real_time_factor(self) -> float:
        """Seconds of conversation (both people, sound and picture) prepared per second."""
        return self.computed_seconds / self.wall_seconds if self.wall_seconds else 0.0


def build_report(
    *,
    outcomes: Sequence[Prepared],
    entries: Sequence[Entry],
    store: StepStore,
    shares: Mapping[str, float],
    cost: Throughput,
    findings: Mapping[str, int],
) -> dict[str, Any]:
    """All figures as plain values; ``findings`` are the source's."""
    skipped = [outcome for outcome in outcomes if outcome.skip is not None]
    seconds = 0.0
    split_seconds: dict[str, float] = defaultdict(float)
    split_people: dict[str, set[str]] = defaultdict(set)
    split_count: Counter[str] = Counter()
    licenses: dict[str, float] = defaultdict(float)
    shares_seconds: dict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    offsets: list[float] = []
    agreement: list[float] = []
    framed: Counter[str] = Counter()
    rates: Counter[str] = Counter()
    for entry in entries:
        probed, found = store.load("probe", entry.keys["probe"]), store.load("events", entry.keys["events"])
        if probed is None or found is None:
            raise ValueError(f"results of {entry.recording.interaction} vanished from the work folder: prepare again")
        length = float(probed.values["seconds"])
        seconds += length
        split_seconds[entry.split] += length
        split_count[entry.split] += 1
        split_people[entry.split] |= {files.participant for files in entry.recording.sides.values()}
        licenses[entry.recording.license] += length / 3600
        for side in SIDES:
            video = probed.values.get(f"{side}.video")
            rates["no video" if video is None else f"{video['fps']} fps"] += 1
            rates[f"{probed.values[f'{side}.audio']['sample_rate']} Hz"] += 1
            for kind in ("backchannels", "interruptions", "laughs"):
                counts[kind] += found.values[kind][side]
        counts["turns"] += found.values["turns"]
        agreement += found.values["voice_agreement"].values()
        if (tracked := store.load("track", entry.keys.get("track", ""))) is not None:
            framed.update(tracked.values[side]["origin"] for side in SIDES)
        offsets += found.values["floor_transfer_offsets"]
        for name, share in found.values["shares"].items():
            shares_seconds[name] += share * length
    minutes = seconds / 60
    return {
        "recordings": len(outcomes),
        "prepared": len(entries),
        "skipped": len(skipped),
        "skipped_by_reason": dict(sorted(Counter(str(outcome.skip) for outcome in skipped).items())),
        "skipped_recordings": {outcome.interaction: f"{outcome.skip}: {outcome.detail}" for outcome in skipped},
        "source_findings": dict(sorted(findings.items())),
        "participants_in_several_splits": _in_several(split_people),
        "hours": seconds / 3600,
        "splits": {
            split: {
                "interactions": split_count[split],
                "hours": split_seconds[split] / 3600,
                "participants": len(split_people[split]),
            }
            for split in sorted({*split_count, *(name for name, share in shares.items() if share)})
        },
        "license_hours": dict(sorted(licenses.items())),
        "non_commercial": any(entry.recording.non_commercial for entry in entries),
        "time_shares": {name: value / seconds for name, value in sorted(shares_seconds.items())} if seconds else {},
        "per_minute": {name: value / minutes for name, value in sorted(counts.items())} if minutes else {},
        "floor_transfer_offset": _quantiles(offsets)
        | ({"share in overlap": float(np.mean(np.asarray(offsets) < 0))} if offsets else {}),
        "source_rates": dict(sorted(rates.items())),
        "voice_agreement": _quantiles(agreement),
        "faces_from": dict(sorted(framed.items())),
        "throughput": {
            "wall_seconds": cost.wall_seconds,
            "computed_media_seconds": cost.computed_seconds,
            "real_time_factor": cost.real_time_factor,
            "workers": cost.workers,
        },
    }


def write_report(out: Path, report: Mapping[str, Any]) -> None:
    """``report.json`` and ``report.md`` in ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    report = _with_known_cost(out / "report.json", report)
    (out / "report.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
    (out / "report.md").write_text(as_markdown(report))


def _with_known_cost(path: Path, report: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run that found everything done keeps the throughput of the run that did it."""
    if report["throughput"]["computed_media_seconds"] or not path.is_file():
        return report
    try:
        known = json.loads(path.read_text())["throughput"]
    except (json.JSONDecodeError, KeyError):  # half written or of another version: nothing to keep
        return report
    return {**report, "throughput": known}


def as_markdown(report: Mapping[str, Any]) -> str:
    """The report for people."""
    lines = [
        "# Preparation report",
        "",
        f"{report['prepared']} of {report['recordings']} recordings prepared, {report['hours']:.3f} hours; "
        f"{report['skipped']} skipped.",
        "",
    ]
    lines += _table(
        ("split", "interactions", "hours", "participants"),
        [(n, s["interactions"], f"{s['hours']:.3f}", s["participants"]) for n, s in report["splits"].items()],
    )
    empty = [name for name, split in report["splits"].items() if not split["interactions"]]
    if empty:
        lines += [f"**Empty splits: {', '.join(empty)}.** Too few participants for their share; add recordings.", ""]
    leaking = report["participants_in_several_splits"]
    if leaking:
        lines += [f"**{len(leaking)} people are in more than one split:** {', '.join(leaking[:_MAX_LISTED])}.", ""]
    lines += _table(("skipped because", "recordings"), list(report["skipped_by_reason"].items()))
    lines += _table(("found while listing the source", ""), list(report["source_findings"].items()))
    lines += _table(("share of time", ""), [(n, f"{v:.1%}") for n, v in report["time_shares"].items()])
    lines += _table(("per minute", "both people"), [(n, f"{v:.2f}") for n, v in report["per_minute"].items()])
    lines += _table(
        ("floor-transfer offset", "seconds"), [(n, f"{v:+.3f}") for n, v in report["floor_transfer_offset"].items()]
    )
    lines += _table(("licence", "hours"), [(n, f"{v:.3f}") for n, v in report["license_hours"].items()])
    if report["non_commercial"]:
        lines += ["At least one recording forbids commercial use; so does every model trained on this data set.", ""]
    lines += _table(("source rate", "streams"), list(report["source_rates"].items()))
    lines += _table(("face known from (none: whole picture)", "people"), list(report["faces_from"].items()))
    lines += _table(
        ("own voice activity and the data set's: both over either", ""),
        [(n, f"{v:.2f}") for n, v in report["voice_agreement"].items()],
    )
    cost = report["throughput"]
    lines += [
        f"{cost['computed_media_seconds']:.0f} s of conversation in {cost['wall_seconds']:.1f} s with "
        f"{cost['workers']} workers: {cost['real_time_factor']:.1f} times real time.",
        "",
    ]
    listed = list(report["skipped_recordings"].items())
    lines += [f"- `{name}`: {why}" for name, why in listed[:_MAX_LISTED]]
    if len(listed) > _MAX_LISTED:
        lines += [f"- and {len(listed) - _MAX_LISTED} more in report.json"]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> list[str]:
    if not rows:
        return []
    body = [" | ".join(str(cell) for cell in row) for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {row} |" for row in body), ""]


def _in_several(people: Mapping[str, set[str]]) -> list[str]:
    """Participants of more than one split."""
    count = Counter(person for members in people.values() for person in members)
    return sorted(person for person, splits in count.items() if splits > 1)


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {
        "mean": float(np.mean(values)),
        **{f"p{q}": float(np.percentile(values, q)) for q in (10, 50, 90)},
    }
