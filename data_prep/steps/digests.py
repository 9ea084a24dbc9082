"""sha256 of input files, remembered in the work folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from data_prep.blob import Blob
from data_prep.remembered import FileMemory, stamp_of


class FileDigests:
    """Digests of blobs; safe for several processes."""

    def __init__(self, work: Path) -> None:
        self._memory = FileMemory(work / "digests.sqlite")

    def known(self, blob: Blob) -> str | None:
        """The digest of ``blob`` if its file has not changed since it was computed."""
        return self._memory.recall(blob.place, stamp_of(blob.path))

    def of(self, blob: Blob) -> str:
        """The digest of ``blob``, computed if it is not known."""
        stamp = stamp_of(blob.path)
        digest = self._memory.recall(blob.place, stamp)
        if digest is None:
            with blob.open() as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._memory.remember(blob.place, stamp, digest)
        return digest

    def close(self) -> None:
        """Close the database."""
        self._memory.close()
