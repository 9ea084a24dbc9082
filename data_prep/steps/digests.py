"""sha256 of input files, remembered by size and modification time: a second call does not read terabytes again."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

from data_prep.blob import Blob


class FileDigests:
    """A small database in the work folder; safe for several processes."""

    def __init__(self, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(work / "digests.sqlite", timeout=60.0, isolation_level=None)
        self._database.execute(
            "create table if not exists digests (path text primary key, size integer, mtime integer, sha256 text)"
        )

    def known(self, blob: Blob) -> str | None:
        """The digest of ``blob`` if its file has not changed since it was computed."""
        stat = blob.path.stat()
        row = self._database.execute(
            "select sha256 from digests where path = ? and size = ? and mtime = ?",
            (_place(blob), stat.st_size, stat.st_mtime_ns),
        ).fetchone()
        return None if row is None else str(row[0])

    def of(self, blob: Blob) -> str:
        """The digest of ``blob``, computed if it is not known."""
        digest = self.known(blob)
        if digest is None:
            stat = blob.path.stat()
            with blob.open() as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._database.execute(
                "insert or replace into digests values (?, ?, ?, ?)",
                (_place(blob), stat.st_size, stat.st_mtime_ns, digest),
            )
        return digest

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _place(blob: Blob) -> str:
    path = str(blob.path.absolute())
    return path if blob.size is None else f"{path}:{blob.offset}+{blob.size}"
