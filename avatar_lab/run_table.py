"""What run folders say: one row per run for notebooks, and the pieces that ``avatar-lab runs`` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from avatar_lab.checkpoint import Card, read_card
from avatar_lab.run_folder import read_starts
from avatar_lab.training.metrics_log import read_rows
from avatar_lab.weight_file import read_weights

UNGATED, UNJUDGED, PASSED, FAILED = "none", "not judged", "passed", "failed"
"""Where the gate of a run stands."""
LOSS = "/loss/"


def find_runs(root: Path) -> Iterator[Path]:
    """Run folders below ``root``: those with a resolved config."""
    yield from sorted(path.parent for path in root.rglob("config.yaml") if (path.parent / "starts.jsonl").exists())


def find_submitted(root: Path) -> Iterator[Path]:
    """Folders below ``root`` of runs that were handed to a cluster and have not begun."""
    yield from sorted(path.parent for path in root.rglob("submitted") if not (path.parent / "config.yaml").exists())


def runs_df(root: Path) -> pd.DataFrame:
    """One row per run below ``root``, in the order in which they were first started.

    Columns: ``run`` (folder below root), ``stage``, ``state`` (done, open, shut), ``step`` of ``steps``, ``seconds``,
    ``seed``, ``gate``, ``started``, ``commit`` (of the last start), ``data`` (hash), then the newest losses by name.

    Raises:
        ValueError: there is no run, or one is damaged.
    """
    rows = []
    for run in find_runs(root):
        config, starts, last = config_of(run), starts_of(run), last_row(run)
        data = starts[-1]["data"]
        rows.append(
            {
                "run": str(run.relative_to(root)),
                "stage": stage_of(config),
                "state": state_of(run, config),
                "step": int(last["step"]) if last else 0,
                "steps": config["training"]["steps"],
                "seconds": last["seconds"] if last else 0.0,
                "seed": config["seed"],
                "gate": gate_of(run, config),
                "started": starts[0]["time"],
                "commit": starts[-1]["commit"],
                "data": None if data is None else data["content_hash"],
            }
            | {name: value for name, value in last.items() if LOSS in name}
        )
    if not rows:
        raise ValueError(
            f"no run folders below {root}: give the folder that holds them, or train one with: avatar-lab train "
            f"experiment=quickstart/teacher root={root}"
        )
    return pd.DataFrame(rows).sort_values("started", kind="stable", ignore_index=True)


def config_of(run: Path) -> dict[str, Any]:
    """The resolved config of a run.

    Raises:
        ValueError: the folder is not a run.
    """
    path = run / "config.yaml"
    if not path.exists():
        if (run / "submitted").exists():
            raise ValueError(f"{run} was submitted and has not begun: squeue --me says why, slurm-*.log if it failed")
        raise ValueError(f"{run} is not a run folder (no config.yaml); list runs with: avatar-lab runs ls {run.parent}")
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return config


def starts_of(run: Path) -> list[dict[str, Any]]:
    """Every start of a run, as ``read_starts`` gives them, and one at least.

    Raises:
        ValueError: the run does not say how it was started.
    """
    starts = read_starts(run)
    if not starts:
        raise ValueError(f"{run} does not say how it was started (no starts.jsonl): it is no run of this version")
    return starts


def rows_of(run: Path) -> list[dict[str, float]]:
    """Rows of the log, none before the first."""
    path = run / "metrics.jsonl"
    return read_rows(path) if path.exists() else []


def last_row(run: Path) -> dict[str, float]:
    """Newest row of the log, empty before the first."""
    rows = rows_of(run)
    return rows[-1] if rows else {}


def stage_of(config: Mapping[str, Any]) -> str:
    """Name of the stage: the module that holds it."""
    module, _, _ = str(config["stage"]["_target_"]).rpartition(".")
    return module.rpartition(".")[2]


def gate_of(run: Path, config: Mapping[str, Any]) -> str:
    """Whether the checkpoint of a run reached what its gate asks for."""
    path = run / "gate.json"
    if path.exists():
        return PASSED if all(bar["passed"] for bar in json.loads(path.read_text())) else FAILED
    return UNGATED if config["gate"] is None else UNJUDGED


def state_of(run: Path, config: Mapping[str, Any]) -> str:
    """``shut`` by its gate, ``done``, or ``open``: under way or interrupted."""
    if gate_of(run, config) == FAILED:
        return "shut"
    return "done" if (run / "done.json").exists() else "open"


def cards_of(run: Path) -> dict[str, Card | str]:
    """What each artefact of a run says of itself: the card of a checkpoint, the fingerprint of any other network."""
    found: dict[str, Card | str] = {}
    for path in sorted(run.glob("*.safetensors")):
        try:
            found[path.name] = read_card(path)
        except ValueError:
            found[path.name] = read_weights(path)[2]
    return found
