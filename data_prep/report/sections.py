"""The report as titled tables of text: what both ``report.md`` and ``report.html`` show, said once.

A table whose step did not run has no rows and says so in its note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avatar_lab.data.schema import SIDES
from data_prep.report.people import comparisons

NOT_RUN = "not run"
SPLITS, PEOPLE, RATES = "Hours by split and role", "Beside what is known of people", "Rates of the source"
"""Titles of the tables that have a figure."""
_EVENT_STEPS = {"given_events": "events", "motion_events": "motion"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text. ``note`` stands above it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def tables(report: Mapping[str, Any]) -> list[Table]:
    """Every table of the report, in reading order; empty ones are left out unless they have a note."""
    found = [
        _splits(report),
        _dropped(report),
        _people_beside(report),
        _plain("Found while listing the source", ("", "count"), report["source_findings"]),
        _leakage(report),
        _licenses(report),
        _speech(report),
        _per_minute(report),
        _rates(report),
        _measured(
            report,
            "lag",
            "Lag between the two sides",
            "sync",
            "s, by their voices in at most the first hour; how sure each is in report.parquet",
        ),
        _measured(report, "sound_after_picture", "Start of sound after start of picture", "probe", "s; made up for"),
        _measured(report, "isolation_db", "Own voice over the other's in each microphone", "bleed", "dB"),
        _measured(report, "voice_agreement", "Own voice activity and the data set's", "events", "both over either"),
        _faces(report),
        _events(report, "given_events", "Events that the source brought along"),
        _events(report, "motion_events", "Events found in the pictures"),
        _features(report),
        _participants(report),
        _steps(report),
    ]
    return [table for table in found if table.rows or table.note]


def summary(report: Mapping[str, Any]) -> str:
    """What came of it, in a sentence."""
    return (
        f"{report['prepared']} of {report['recordings']} recordings prepared, {report['hours']:.3f} hours "
        f"({report['picture_hours']:.3f} with pictures); {report['skipped']} skipped."
    )


def cost(report: Mapping[str, Any]) -> str:
    """What it cost, in a sentence."""
    spent = report["throughput"]
    return (
        f"{spent['computed_media_seconds']:.0f} s of conversation in {spent['wall_seconds']:.1f} s with "
        f"{spent['workers']} workers: {spent['real_time_factor']:.1f} times real time."
    )


def warnings(report: Mapping[str, Any]) -> list[str]:
    """What somebody should look at before training on it."""
    said = []
    empty = [name for name, split in report["splits"].items() if not split["interactions"]]
    if empty:
        said.append(f"Empty splits: {', '.join(empty)}. Too few participants for their share; add recordings.")
    leakage = report["leakage"]
    if leakage["people"]:
        said.append(f"{len(leakage['people'])} people are in more than one split: {_first(leakage['people'])}.")
    if leakage["same_files"]:
        names = "; ".join(" = ".join(same) for same in leakage["first_same_files"])
        said.append(
            f"{leakage['same_files']} recordings are there more than once under different names, "
            f"{leakage['same_files_across_splits']} of them in several splits: {names}."
        )
    if report["non_commercial"]:
        said.append(
            f"{report['non_commercial_hours']:.3f} hours forbid commercial use; so does every model trained on this "
            "data set."
        )
    return said


def _splits(report: Mapping[str, Any]) -> Table:
    rows = []
    for name, split in report["splits"].items():
        roles = [f"{split[f'{role}_hours'][side]:.3f}" for role in ("speaking", "listening") for side in SIDES]
        hours = [f"{split[key]:.3f}" for key in ("hours", "picture_hours")]
        rows.append([name, str(split["interactions"]), str(split["participants"]), *hours, *roles])
    head = ["split", "interactions", "participants", "hours", "with pictures"]
    head += [f"{side} {role}" for role in ("speaks", "listens") for side in SIDES]
    note = "Hours. Each interaction serves twice: either person may be the avatar."
    return Table(title=SPLITS, head=head, rows=rows, note=note)


def _dropped(report: Mapping[str, Any]) -> Table:
    rows = []
    for reason, found in report["dropped"].items():
        known = f"{found['hours']:.3f}" if found["unknown_length"] < found["recordings"] else "not known"
        names = _first(found["first"], of=found["recordings"])
        rows.append([reason, str(found["recordings"]), known, "yes" if found["damage"] else "no", names])
    head = ("skipped because", "recordings", "hours", "damage", "first names")
    return Table(title="Dropped", head=head, rows=rows, note="" if rows else "Nothing was dropped.")


def _leakage(report: Mapping[str, Any]) -> Table:
    found = report["leakage"]
    rows = [
        ["people in several splits", str(len(found["people"]))],
        ["recordings of the same files", str(found["same_files"])],
        ["of these, in several splits", str(found["same_files_across_splits"])],
    ]
    return Table(title="Leakage between splits", head=("", "count"), rows=rows)


def _licenses(report: Mapping[str, Any]) -> Table:
    rows = [
        [name, str(terms["recordings"]), f"{terms['hours']:.3f}", f"{terms['non_commercial_hours']:.3f}"]
        for name, terms in report["licenses"].items()
    ]
    return Table(title="Licences", head=("licence", "recordings", "hours", "non-commercial hours"), rows=rows)


def _speech(report: Mapping[str, Any]) -> Table:
    names = {
        "speech": "somebody speaks",
        "overlap": "both speak",
        "overlap_without_backchannels": "both speak, backchannels left out",
        "silence": "nobody speaks",
    }
    found = report["time_shares"]
    rows = [[text, f"{found[name]:.1%}"] for name, text in names.items() if name in found]
    return Table(title="Shares of time", head=("", "share"), rows=rows)


def _per_minute(report: Mapping[str, Any]) -> Table:
    rows = [[name, f"{rate:.2f}"] for name, rate in report["per_minute"].items()]
    share = report["shift_share"]
    note = (
        "" if share is None else f"After {share:.1%} of the silences whose outcome is plain the other speaks (shift)."
    )
    return Table(title="Rates of events", head=("per minute", "both people"), rows=rows, note=note)


def _people_beside(report: Mapping[str, Any]) -> Table:
    found = comparisons(report)
    rows = [[*one.cells(), one.figure.note] for one in found]
    head = ("figure", "here", "people", "where definitions differ")
    sources = "; ".join(dict.fromkeys(one.figure.source for one in found))
    note = f"People, in ochre, shaded from the tenth to the ninetieth percentile: {sources}."
    return Table(title=PEOPLE, head=head, rows=rows, note=note)


def _rates(report: Mapping[str, Any]) -> Table:
    rows = [[name, str(count)] for key in ("frame_rates", "sample_rates") for name, count in report[key].items()]
    return Table(title=RATES, head=("source rate", "streams"), rows=rows)


def _measured(report: Mapping[str, Any], key: str, title: str, step: str, unit: str) -> Table:
    found, run = report[key], report["steps"][step]
    if not run:
        return Table(
            title=title, head=(), rows=[], note=f"The step {step} was {NOT_RUN}." if report["prepared"] else ""
        )
    rows = [[name, f"{value:.3f}" if isinstance(value, float) else str(value)] for name, value in found.items()]
    note = f"{_of(run, report)}." if rows else f"{_of(run, report)}, none with a figure."
    return Table(title=title, head=("", unit), rows=rows, note=note)


def _faces(report: Mapping[str, Any]) -> Table:
    if not report["steps"]["track"]:
        note = f"The step track was {NOT_RUN}." if report["prepared"] else ""
        return Table(title="Faces", head=(), rows=[], note=note)
    rows = [[name, str(count)] for name, count in report["faces_from"].items()]
    rows += [
        [f"strays from its place, {name}, face heights", f"{value:.2f}"]
        for name, value in report["face_stray"].items()
        if name != "count"
    ]
    return Table(title="Faces", head=("face known from (none: whole picture)", "people"), rows=rows)


def _events(report: Mapping[str, Any], key: str, title: str) -> Table:
    if not report["steps"][_EVENT_STEPS[key]]:
        note = f"The step {_EVENT_STEPS[key]} was {NOT_RUN}." if report["prepared"] else ""
        return Table(title=title, head=(), rows=[], note=note)
    rows = [[name, str(count)] for name, count in report[key].items()]
    return Table(title=title, head=("type", "events"), rows=rows, note="" if rows else "None.")


def _features(report: Mapping[str, Any]) -> Table:
    title = "Arrays that the data set brought along"
    if not report["steps"]["features"]:
        note = f"The step features was {NOT_RUN}, or no recording has any." if report["prepared"] else ""
        return Table(title=title, head=(), rows=[], note=note)
    found = report["features"]
    rows = [[f"hours, person {side}", f"{hours:.3f}"] for side, hours in found["hours"].items()]
    rows += [[f"hours of {name}", f"{hours:.3f}"] for name, hours in found["hours_by_array"].items()]
    for key, text in (("rates", "files at"), ("clocks", "files by")):
        rows += [[f"{text} {name}", str(count)] for name, count in found[key].items()]
    rows += [[f"files refused: {note}", str(count)] for note, count in found["refused"].items()]
    rows += [[f"arrays left out: {note}", str(count)] for note, count in found["left_out"].items()]
    rest = found["arrays"] - len(found["hours_by_array"])
    said = [f"{found['files']} files.", *([f"{rest} more arrays are not listed."] if rest else [])]
    said += [f"First refused as {note}: {detail}." for note, detail in found["first_refused"].items()]
    return Table(title=title, head=("", "hours or count"), rows=rows, note=" ".join(said))


def _participants(report: Mapping[str, Any]) -> Table:
    found = report["participants"]
    rows = [[name, f"{hours:.3f}"] for name, hours in found["longest"].items()]
    rest = found["people"] - len(rows)
    spread = ", ".join(f"{name} {hours:.3f}" for name, hours in found["hours_each"].items())
    note = f"{found['people']} people; hours each: {spread}." + (f" {rest} more are not listed." if rest else "")
    return Table(title="Hours per person", head=("participant", "hours"), rows=rows, note=note if rows else "")


def _steps(report: Mapping[str, Any]) -> Table:
    rows = [[step, _of(run, report) if run else NOT_RUN] for step, run in report["steps"].items()]
    return Table(title="Steps", head=("step", "results"), rows=rows if report["prepared"] else [])


def _plain(title: str, head: tuple[str, str], found: Mapping[str, object]) -> Table:
    return Table(title=title, head=head, rows=[[name, str(value)] for name, value in found.items()])


def _of(run: int, report: Mapping[str, Any]) -> str:
    return f"{run} of {report['prepared']} recordings"


def _first(names: Sequence[str], *, of: int | None = None, limit: int = 50) -> str:
    """The first names, and how many more there are."""
    count = len(names) if of is None else of
    shown = list(names)[:limit]
    return ", ".join(shown) + (f" and {count - len(shown)} more" if count > len(shown) else "")
