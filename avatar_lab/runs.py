"""``avatar-lab runs <ls|show|diff|tail>``: what runs there are, how far they are, and how two of them differ."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from avatar_lab.checkpoint import Card
from avatar_lab.run_folder import differences
from avatar_lab.run_table import (
    LOSS,
    UNGATED,
    cards_of,
    config_of,
    find_runs,
    find_submitted,
    gate_of,
    last_row,
    rows_of,
    starts_of,
    state_of,
)

WIDTH, INDENT = 118, 12


def summary(run: Path) -> str:
    """One line: state, steps, hours, folder."""
    row, config = last_row(run), config_of(run)
    steps, hours = config["training"]["steps"], row.get("seconds", 0.0) / 3600
    return f"{state_of(run, config)}  {int(row.get('step', 0)):>8}/{steps:<8} {hours:>7.2f} h  {run}"


def table(root: Path) -> Iterator[str]:
    """One line per run, then those that wait for a cluster."""
    yield from map(summary, find_runs(root))
    yield from (f"submitted, not begun: {run}" for run in find_submitted(root))


def details(run: Path) -> str:
    """Config in short, starts, gate, artefacts with their lineage, and newest metrics of a run."""
    config, row = config_of(run), last_row(run)
    lines = [summary(run), "", *short(config), ""]
    for start in starts_of(run):
        data = "none" if start["data"] is None else start["data"]["content_hash"][:12]
        lines.append(f"started {start['time']} at commit {start['commit']}, data {data}: {' '.join(start['command'])}")
    if gate_of(run, config) != UNGATED:
        lines += ["", f"gate {gate_of(run, config)}", *gate_lines(run)]
    lines += ["", *artefacts(run)]
    if row:
        lines += ["", f"step {row['step']:.0f} of {config['training']['steps']}, {row['seconds']:,.0f} s"]
        lines += [f"{name:<40} {_number(value)}" for name, value in row.items() if "/" in name]
    return "\n".join(lines)


def short(config: Mapping[str, Any]) -> Iterator[str]:
    """One paragraph per group of a config: ``key=value`` of all that is set, classes by their own name."""
    plain = {name: value for name, value in config.items() if not isinstance(value, dict)}
    for name, group in [("run", plain), *((n, value) for n, value in config.items() if isinstance(value, dict))]:
        words = [f"{key}={value}" for key, value in _leaves(group)]
        if "_target_" in group:
            words.insert(0, _class(group))
        if words:
            text = f"{name:<{INDENT}}{' '.join(words)}"
            yield textwrap.fill(
                text, WIDTH, subsequent_indent=" " * INDENT, break_long_words=False, break_on_hyphens=False
            )


def _leaves(group: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What is set, by dotted key; a node that builds an object is first that object's class."""
    for key, value in group.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            if "_target_" in value:
                yield name, _class(value)
            yield from _leaves(value, f"{name}.")
        elif value is not None and key != "_target_":
            yield name, json.dumps(value, separators=(",", ":")) if isinstance(value, list) else value


def _class(node: Mapping[str, Any]) -> str:
    """``Teacher`` of ``avatar_lab.stage.teacher.Teacher``, ``TinyAudio`` of ``...TinyAudio.load``."""
    parts = str(node["_target_"]).split(".")
    return next((part for part in parts if part[:1].isupper()), parts[-1])


def gate_lines(run: Path) -> list[str]:
    """One line per bar, where the gate was judged."""
    path = run / "gate.json"
    bars = json.loads(path.read_text()) if path.exists() else []
    marks = {True: "passed", False: "failed", None: "undecided"}
    return [
        f"  {marks[bar['passed']]:<9} {bar['agent']} {bar['metric']}: {bar['observed']} ({bar['rule']})" for bar in bars
    ]


def artefacts(run: Path) -> Iterator[str]:
    """One paragraph per file that the run exported: from which weights it descends, and what it may be used for."""
    for name, card in cards_of(run).items():
        if not isinstance(card, Card):
            yield f"{name}: fingerprint {card}"
            continue
        terms = card.data_licence + (", non-commercial" if card.non_commercial else "")
        yield f"{name}: stage {card.stage}, commit {card.commit}, data {terms or 'none'}"
        yield "  descends from " + (" > ".join(card.lineage) or "nothing: trained from scratch")


def comparison(first: Path, second: Path) -> str:
    """Keys of the config in which two runs differ, then their newest metrics where both or one of them has any."""
    changed = list(differences(config_of(first), config_of(second)))
    lines = ["config", *(f"  {change}" for change in changed)] if changed else ["config: no difference"]
    rows = last_row(first), last_row(second)
    differing = [name for name in dict.fromkeys([*rows[0], *rows[1]]) if rows[0].get(name) != rows[1].get(name)]
    if not differing:
        return "\n".join([*lines, "metrics: no difference"])
    lines += ["metrics (newest of each)", f"  {'':<40} {'first':>12} {'second':>12} {'change':>12}"]
    for name in differing:
        before, now = (row.get(name) for row in rows)
        change = "" if before is None or now is None else f"{now - before:+.4g}"
        lines.append(f"  {name:<40} {_number(before):>12} {_number(now):>12} {change:>12}")
    return "\n".join(lines)


def follow(run: Path, *, rows: int, keep_on: bool, every_seconds: float = 2.0) -> Iterator[str]:
    """The newest ``rows`` of a run's log, a line each; with ``keep_on`` then those to come, until the run is done. A
    resumed run that goes over some steps again shows them again."""
    config, shown = config_of(run), -1
    while True:
        done = state_of(run, config) != "open"
        found = rows_of(run)
        if shown < 0:
            shown = max(0, len(found) - rows)
        for row in found[min(shown, len(found)) :]:
            losses = "  ".join(f"{name} {_number(value)}" for name, value in row.items() if LOSS in name)
            yield f"{int(row['step'])}/{config['training']['steps']}  {row['seconds']:,.0f} s  {losses}"
        shown = len(found)
        if done or not keep_on:
            return
        time.sleep(every_seconds)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="avatar-lab runs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ls", help="one line per run").add_argument(
        "root", type=Path, nargs="?", default=Path("outputs")
    )
    show = commands.add_parser("show", help="config in short, starts, gate, lineage of what came of it, newest metrics")
    show.add_argument("run", type=Path)
    diff = commands.add_parser("diff", help="config keys and newest metrics in which two runs differ")
    diff.add_argument("first", type=Path)
    diff.add_argument("second", type=Path)
    tail = commands.add_parser("tail", help="newest rows of a run's log, and those to come until it is done")
    tail.add_argument("run", type=Path)
    tail.add_argument("--rows", type=int, default=5)
    tail.add_argument("--once", action="store_true", help="do not wait for more")
    chosen = parser.parse_args()
    actions = {
        "ls": lambda: "\n".join(table(chosen.root)) or f"no runs below {chosen.root}",
        "show": lambda: details(chosen.run),
        "diff": lambda: comparison(chosen.first, chosen.second),
    }
    try:
        if chosen.command == "tail":
            for line in follow(chosen.run, rows=chosen.rows, keep_on=not chosen.once):
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            return
        sys.stdout.write(actions[chosen.command]() + "\n")
    except KeyboardInterrupt:
        return
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
