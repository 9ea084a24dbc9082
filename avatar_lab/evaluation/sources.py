"""``sources.json``: what the rows of each agent were made from, so that a reader of results can say so.

Hashes are taken when an agent is measured. A checkpoint or a data set may be replaced later; its rows still tell what
they are of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from avatar_lab.evaluation.summary import write_json

FILE = "sources.json"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What one agent was measured on, and with.

    config_sha    as in its rows: where they differ, this record is of other rows
    data_sha      content hash of the prepared data set
    checkpoint_sha, lineage, commit  of the file and of its card; ``None`` for agents that are no model
    """

    config_sha: str
    data_sha: str
    checkpoint_sha: str | None
    lineage: tuple[str, ...] | None
    commit: str | None


def write_sources(folder: Path, sources: Mapping[str, Source]) -> None:
    """Add or replace the records of some agents; those of others stay."""
    plain = {name: asdict(source) for name, source in sources.items()}
    write_json(folder / FILE, _stored(folder) | plain)


def read_sources(folder: Path) -> dict[str, Source]:
    """Records by agent; empty where an evaluation of an older version left none."""
    return {
        name: Source(**row | {"lineage": None if row["lineage"] is None else tuple(row["lineage"])})
        for name, row in _stored(folder).items()
    }


def _stored(folder: Path) -> dict[str, dict]:
    path = folder / FILE
    return json.loads(path.read_text()) if path.is_file() else {}
