"""``avatar-lab runs <ls|show|diff>``: what runs there are, how far they are, and how two of them differ."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from avatar_lab.run_folder import differences
from avatar_lab.training.metrics_log import read_rows


def find_runs(root: Path) -> Iterator[Path]:
    """Run folders below ``root``: those with a resolved config."""
    yield from sorted(path.parent for path in root.rglob("config.yaml") if (path.parent / "starts.jsonl").exists())


def config_of(run: Path) -> dict[str, Any]:
    """The resolved config of a run.

    Raises:
        ValueError: the folder is not a run.
    """
    path = run / "config.yaml"
    if not path.exists():
        raise ValueError(f"{run} is not a run folder (no config.yaml); list runs with: avatar-lab runs ls {run.parent}")
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return config


def last_row(run: Path) -> dict[str, float]:
    """Newest row of the log, empty before the first."""
    path = run / "metrics.jsonl"
    rows = read_rows(path) if path.exists() else []
    return rows[-1] if rows else {}


def summary(run: Path) -> str:
    """One line: state, steps, hours, folder."""
    row, steps = last_row(run), config_of(run)["training"]["steps"]
    state = "done" if (run / "done.json").exists() else "open"
    if (run / "gate.json").exists() and not all(bar["passed"] for bar in json.loads((run / "gate.json").read_text())):
        state = "shut"  # its gate
    return f"{state}  {int(row.get('step', 0)):>8}/{steps:<8} {row.get('seconds', 0.0) / 3600:>7.2f} h  {run}"


def details(run: Path) -> str:
    """Config, starts and newest losses of a run."""
    starts = [json.loads(line) for line in (run / "starts.jsonl").read_text().splitlines()]
    lines = [summary(run), "", yaml.safe_dump(config_of(run), sort_keys=False)]
    lines += [f"started {start['time']} at commit {start['commit']}" for start in starts]
    lines += [f"{name:<40} {value}" for name, value in last_row(run).items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="avatar-lab runs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ls", help="one line per run").add_argument(
        "root", type=Path, nargs="?", default=Path("outputs")
    )
    commands.add_parser("show", help="config, starts and newest losses").add_argument("run", type=Path)
    diff = commands.add_parser("diff", help="config keys in which two runs differ")
    diff.add_argument("first", type=Path)
    diff.add_argument("second", type=Path)
    chosen = parser.parse_args()
    actions = {
        "ls": lambda: "\n".join(summary(run) for run in find_runs(chosen.root)) or f"no runs below {chosen.root}",
        "show": lambda: details(chosen.run),
        "diff": lambda: "\n".join(differences(config_of(chosen.first), config_of(chosen.second))) or "no difference",
    }
    try:
        sys.stdout.write(actions[chosen.command]() + "\n")
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
