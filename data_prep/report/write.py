"""Writes the report of a preparation, one recording in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.manifest import NO_DAMAGE, Recording
from data_prep.pipeline import Prepared
from data_prep.report.figures import Figures
from data_prep.report.markdown import as_markdown
from data_prep.report.reading import read_dropped, read_used
from data_prep.report.row import open_rows
from data_prep.report.sheets import SheetRule, sheets
from data_prep.settings import Settings
from data_prep.shard import Entry
from data_prep.steps.store import StepStore


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


def write_report(
    out: Path,
    *,
    recordings: Sequence[Recording],
    outcomes: Sequence[Prepared],
    entries: Sequence[Entry],
    store: StepStore,
    settings: Settings,
    shares: Mapping[str, float],
    cost: Throughput,
    findings: Mapping[str, int],
    sheet_rule: SheetRule | None = None,
) -> dict[str, Any]:
    """``report.parquet``, ``report.json``, ``report.md`` and ``report.html`` in ``out``; the figures as plain values.

    Args:
        recordings, outcomes: everything the source listed and what came of it, in the same order.
        entries: the recordings that go into the shards, in that order.
        shares: splits that were asked for.
        findings: the source's.

    Raises:
        ValueError: results vanished from the work folder.
    """
    # Worker processes import the module that they were started from; they need no drawing library.
    from data_prep.report.page import page

    out.mkdir(parents=True, exist_ok=True)
    figures = Figures()
    used = {entry.recording.interaction: entry for entry in entries}
    with open_rows(out / "report.parquet") as rows:
        for recording, outcome in zip(recordings, outcomes, strict=True):
            entry = used.get(recording.interaction)
            if entry is None:
                reading = read_dropped(recording, outcome, store)
                figures.add_dropped(reading.row, damage=outcome.skip not in NO_DAMAGE)
            else:
                reading = read_used(entry, store)
                figures.add_used(reading)
                figures.add_identity(
                    recording.interaction, split=entry.split, content=entry.keys.get("encode", entry.keys["probe"])
                )
            rows.add(reading.row)
    report = {
        "recordings": len(recordings),
        **figures.plain(shares),
        "skipped_recordings": {o.interaction: f"{o.skip}: {o.detail}" for o in outcomes if o.skip is not None},
        "source_findings": dict(sorted(findings.items())),
        "throughput": {
            "wall_seconds": cost.wall_seconds,
            "computed_media_seconds": cost.computed_seconds,
            "real_time_factor": cost.real_time_factor,
            "workers": cost.workers,
        },
    }
    report = _with_known_cost(out / "report.json", report)
    (out / "report.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
    (out / "report.md").write_text(as_markdown(report))
    drawn = sheets(entries, store, rule=sheet_rule or SheetRule(), settings=settings)
    unfinished = out / "report.html.part"
    with unfinished.open("w") as file:
        file.writelines(page(report, drawn))
    unfinished.replace(out / "report.html")
    return report


def _with_known_cost(path: Path, report: dict[str, Any]) -> dict[str, Any]:
    """A run that found everything done keeps the throughput of the run that did it."""
    if report["throughput"]["computed_media_seconds"] or not path.is_file():
        return report
    try:
        known = json.loads(path.read_text())["throughput"]
    except (json.JSONDecodeError, KeyError):  # half written or of another version: nothing to keep
        return report
    return {**report, "throughput": known}
