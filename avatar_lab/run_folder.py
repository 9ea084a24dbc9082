"""A run folder describes itself: resolved config, command, versions of code and libraries, and what came of it."""

from __future__ import annotations

import json
import logging
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import yaml

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.config import RunConfig
from avatar_lab.data.schema.index import DatasetInfo
from avatar_lab.run_lock import check_progress, job_id
from avatar_lab.training.checkpointing import CheckpointStore, write_atomically
from avatar_lab.training.metrics_log import read_rows

log = logging.getLogger(__name__)

FREE_TO_CHANGE = ("training", "cluster", "samples", "gate", "judge", "resume", "out", "root", "dry_run")
"""Config keys that may differ when a run goes on; a change of any other makes it a different run."""


PRODUCTS = (
    *("checkpoints", "metrics.jsonl", "samples", "done.json", "gate", "gate.json", "judged", "judged.jsonl"),
    *("config.yaml", "starts.jsonl", "odd_steps.jsonl", "stalled"),
)
"""What a run writes besides its artefacts."""

_CODE = ("commit", "python", "libraries")
"""Of a start: what may change between two without making it another run, and is said."""
NOT_SAID = "unknown"
"""Licence of data that does not say."""


class Artefact(Protocol):
    """A network that a stage exports: it knows how to write itself as a self-describing file."""

    def save(self, path: Path) -> None: ...


def claim(out: Path, config: RunConfig, *, data: DatasetInfo | None = None, lineage: Sequence[str] = ()) -> None:
    """Make ``out`` the folder of this run on ``data``, or recognise it as such.

    lineage  networks that it starts from or learns from, as on its checkpoints' cards

    Raises:
        ValueError: the folder belongs to a run with another layout, codec, model, stage, data or seed; or its data set
            or what it starts from has changed; or this job was started at the same step again and again.
    """
    for change in changes_since(out, config):
        log.info("config changed since the last start: %s", change)
    out.mkdir(parents=True, exist_ok=True)
    starts, step = read_starts(out), CheckpointStore(out / "checkpoints", keep=1).latest_step()
    origin = {"data": None if data is None else terms(data), "lineage": list(lineage)}
    start = provenance() | origin | {"job": job_id(), "step": step}
    if starts:
        before_code, code = ({key: each[key] for key in _CODE} for each in (starts[-1], start))
        for change in differences(before_code, code):
            log.info("code changed since the last start: %s", change)
    last = starts[-1]["data"] if starts else None
    if last is not None and data is not None and last["content_hash"] != data.content_hash:
        raise ValueError(
            f"the data set of {out} has changed since its last start (content {last['content_hash'][:12]} -> "
            f"{data.content_hash[:12]}), so the windows to come would be others: restore it, or choose another out="
        )
    if starts and step and starts[-1].get("lineage", start["lineage"]) != start["lineage"]:
        other = sorted(set(start["lineage"]) ^ set(starts[-1]["lineage"]))
        raise ValueError(
            f"what {out} starts from has changed since its last start ({', '.join(other)}): its checkpoints go on from "
            "the networks before. Start this stage anew, with resume=false or another out="
        )
    check_progress(starts, step=step, limit=config.cluster["starts_without_progress"])
    if step < config.training["steps"]:  # what goes on is not done, and its artefacts are not the last
        for name in ("done.json", "gate.json"):
            (out / name).unlink(missing_ok=True)
    write_atomically(out / "config.yaml", yaml.safe_dump(asdict(config), sort_keys=False))
    # as a whole: a line after one that was cut short would be damaged too
    write_atomically(out / "starts.jsonl", "".join(json.dumps(each) + "\n" for each in [*starts, start]))


def changes_since(out: Path, config: RunConfig) -> list[str]:
    """What differs between ``config`` and that of the run in ``out``, if there is one.

    Raises:
        ValueError: something does that makes it another run.
    """
    path = out / "config.yaml"
    if not path.exists():
        return []
    changes = list(differences(yaml.safe_load(path.read_text()), asdict(config)))
    refused = [change for change in changes if change.split(".")[0].split(":")[0] not in FREE_TO_CHANGE]
    if refused:
        raise ValueError(
            f"{out} holds a run with another config ({'; '.join(refused[:5])}): choose another out= or root=, or move "
            "it away"
        )
    return changes


def read_starts(run: Path) -> list[dict[str, Any]]:
    """Every start of a run: time, command, commit, libraries, data, job; none before the first. A last line cut short
    by a crash is left out and reported.

    Raises:
        ValueError: another line is damaged.
    """
    path = run / "starts.jsonl"
    try:
        starts: list[Any] = read_rows(path) if path.exists() else []
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): remove the broken line, or move the run away") from error
    return starts


def set_aside(out: Path) -> None:
    """Move what an earlier run left in ``out`` into a folder of its own, so that a fresh start never mixes with it."""
    left = [out / name for name in PRODUCTS if (out / name).exists()]
    if left:
        folder = out / f"before_{datetime.now(UTC):%Y%m%dT%H%M%S}"
        folder.mkdir()
        for path in left:
            path.rename(folder / path.name)
        log.info("resume=false: the earlier run was moved to %s", folder)


def terms(data: DatasetInfo) -> dict[str, Any]:
    """What a prepared data set is and what it may be used for."""
    return {
        "content_hash": data.content_hash,
        "licences": sorted(data.licenses),
        "non_commercial": data.non_commercial,
    }


def signed(run: Path, artefacts: Mapping[str, Any], *, step: int | None = None) -> dict[str, Any]:
    """``artefacts`` of ``run`` with its commit, the licences of its data and its last metrics, up to ``step``, on their
    cards.

    Licences and a ban on commercial use are inherited from every ancestor, and from the data of every start of the run.
    """
    starts = read_starts(run)
    rows = read_rows(run / "metrics.jsonl") if (run / "metrics.jsonl").exists() else []
    rows = [row for row in rows if step is None or row["step"] <= step]
    metrics = {name: value for name, value in rows[-1].items() if "/" in name and value is not None} if rows else {}
    used = [start["data"] for start in starts if start["data"] is not None]
    licences = [licence for data in used for licence in data["licences"]]

    def sign(artefact: Any) -> Any:
        if not isinstance(artefact, Checkpoint):
            return artefact
        card = artefact.card.under(licences, non_commercial=any(data["non_commercial"] for data in used))
        card = replace(card, metrics=metrics, commit=starts[-1]["commit"], data_licence=card.data_licence or NOT_SAID)
        return replace(artefact, card=card)

    return {name: sign(artefact) for name, artefact in artefacts.items()}


def finish(
    out: Path,
    artefacts: Mapping[str, Any],
    *,
    steps: int,
    seconds: Mapping[str, float] | None = None,
    best_step: int | None = None,
) -> None:
    """Write the artefacts, then ``done.json``.

    seconds    of the run's last start, ``all`` and of them ``saving``
    best_step  the artefacts are not of the last step but of that one
    """
    written = write_artefacts(out, signed(out, artefacts, step=best_step))
    done = {"steps": steps, "artefacts": written, "seconds": dict(seconds or {})}
    done |= {} if best_step is None else {"best_step": best_step}
    write_atomically(out / "done.json", json.dumps(done | provenance(), indent=1))


def write_artefacts(folder: Path, artefacts: Mapping[str, Any]) -> list[str]:
    """Write what a stage exports as ``<folder>/<name>.safetensors``; returns the file names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in artefacts.items():
        artefact: Artefact = network
        path = folder / f"{name}.safetensors"
        artefact.save(path)
        log.info("wrote %s", path)
    return [f"{name}.safetensors" for name in artefacts]


def provenance() -> dict[str, Any]:
    """When, where and with which code a run was started. Environment variables are left out: they hold secrets."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": commit(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in ("torch", "lightning", "hydra-core")},
    }


def commit() -> str:
    """Commit of the code, with ``+`` where the tree has changes; ``unknown`` outside a clone."""
    folder = Path(__file__).parent
    try:
        out = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
            cwd=folder, capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return out.stdout.strip()


def differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """``key: old -> new`` for every leaf that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys(), key=str):
            yield from differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif before != now and list_of(before) != list_of(now):
        yield f"{path}: {before} -> {now}"


def list_of(value: Any) -> Any:
    """Tuples become lists, as they do in yaml."""
    return list(value) if isinstance(value, tuple) else value
