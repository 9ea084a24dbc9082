"""What was computed from a file, remembered until the file changes: a second call does not read terabytes again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

Stamp = tuple[int, int]
"""Size and modification time; taken before a file is read, so that one that changes meanwhile is read again."""


def stamp_of(path: Path) -> Stamp:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


class FileMemory:
    """A small database of texts by place (a file, or a part of one); safe for several processes."""

    def __init__(self, database: Path) -> None:
        database.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(database, timeout=60.0, isolation_level=None)
        self._database.execute(
            "create table if not exists memory (place text primary key, size integer, mtime integer, found text)"
        )

    def recall(self, place: str, stamp: Stamp) -> str | None:
        """What was found at ``place``, if that was under the same stamp."""
        row = self._database.execute(
            "select found from memory where place = ? and size = ? and mtime = ?", (place, *stamp)
        ).fetchone()
        return None if row is None else str(row[0])

    def remember(self, place: str, stamp: Stamp, found: str) -> None:
        """Keep ``found`` instead of what was known of ``place``."""
        self._database.execute("insert or replace into memory values (?, ?, ?, ?)", (place, *stamp, found))

    def close(self) -> None:
        """Close the database."""
        self._database.close()
