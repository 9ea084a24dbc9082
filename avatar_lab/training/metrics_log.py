"""``metrics.jsonl``: one row per logging interval, the source of truth for curves, reports and experiment records."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


class MetricsLog:
    """Append-only rows with the keys ``step``, ``seconds`` and whatever was measured."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unwritten = ""

    def rewind(self, step: int) -> float:
        """Drop rows after ``step``, which a resumed run writes again, and return the seconds spent up to it."""
        rows = read_rows(self.path) if self.path.exists() else []
        kept = [row for row in rows if row["step"] <= step]
        if len(kept) < len(rows):
            log.info(
                "%s: %d rows after step %d are dropped and will be computed again",
                self.path,
                len(rows) - len(kept),
                step,
            )
        text = "".join(json.dumps(row) + "\n" for row in kept)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.replace(self.path)
        return kept[-1]["seconds"] if kept else 0.0

    def write(self, row: Mapping[str, float]) -> None:
        """Append one row; NaN and infinities become null so that every line is valid JSON.

        Where there is no room for it, it waits for the next or for :meth:`flush`: a checkpoint may make some, and says
        what to do if not.
        """
        clean = {name: value if math.isfinite(value) else None for name, value in row.items()}
        self._unwritten += json.dumps(clean) + "\n"
        self.flush()

    def flush(self) -> None:
        """Write what waits for room, if there is any now."""
        if not self._unwritten:
            return
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a") as file:
                file.write(self._unwritten)
        except OSError as error:
            log.warning("%s: rows wait for room on the disk (%s)", self.path, error)
            with suppress(OSError):  # a part of a row would damage the next
                os.truncate(self.path, size)
        else:
            self._unwritten = ""


def read_rows(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics file. A last line cut short by a crash is left out and reported."""
    lines = path.read_text().splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise ValueError(f"{path}, line {number}: not JSON; repair or remove that line") from None
            log.warning("%s: the last line was cut short and is ignored", path)
    return rows
