"""sha256 of input files, remembered by size and modification time: a second call does not read terabytes again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from avatar_lab.data.schema import file_sha256


class FileDigests:
    """A small database in the work folder; safe for several processes."""

    def __init__(self, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(work / "digests.sqlite", timeout=60.0, isolation_level=None)
        self._database.execute(
            "create table if not exists digests (path text primary key, size integer, mtime integer, sha256 text)"
        )

    def known(self, path: Path) -> str | None:
        """The digest of ``path`` if the file has not changed since it was computed."""
        stat = path.stat()
        row = self._database.execute(
            "select sha256 from digests where path = ? and size = ? and mtime = ?",
            (str(path.absolute()), stat.st_size, stat.st_mtime_ns),
        ).fetchone()
        return None if row is None else str(row[0])

    def of(self, path: Path) -> str:
        """The digest of ``path``, computed if it is not known."""
        digest = self.known(path)
        if digest is None:
            stat = path.stat()
            digest = file_sha256(path)
            self._database.execute(
                "insert or replace into digests values (?, ?, ?, ?)",
                (str(path.absolute()), stat.st_size, stat.st_mtime_ns, digest),
            )
        return digest

    def close(self) -> None:
        """Close the database."""
        self._database.close()
