"""Where bytes lie: a file of its own, or a member of an uncompressed tar file, read in place and never extracted."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """A stretch of a file.

    path    the file, or the archive around it
    name    what the data set calls it; only for messages, never a path
    offset  where it begins; size  bytes, or ``None``: to the end of the file
    """

    path: Path
    name: str
    offset: int = 0
    size: int | None = None

    @classmethod
    def of(cls, path: Path) -> Blob:
        """A whole file."""
        return cls(path=path, name=path.name)

    @property
    def url(self) -> str:
        """Name under which FFmpeg opens it: absolute, since ``concat:x.mp4`` would be an address and no file."""
        path = self.path.absolute()
        if self.size is None:
            return str(path)
        return f"subfile,,start,{self.offset},end,{self.offset + self.size},,:{path}"

    @property
    def place(self) -> str:
        """Where it lies, in one line: what is remembered of a blob is remembered under this."""
        path = str(self.path.absolute())
        return path if self.size is None else f"{path}:{self.offset}+{self.size}"

    def stated_size(self) -> int:
        """Bytes that are there to be read.

        Raises:
            OSError: the file is not there.
        """
        whole = self.path.stat().st_size
        return whole if self.size is None else max(0, min(self.size, whole - self.offset))

    def open(self) -> io.BufferedReader:
        """The bytes as a seekable file."""
        file = self.path.open("rb")
        return file if self.size is None else io.BufferedReader(_Section(file, self.offset, self.stated_size()))


class _Section(io.RawIOBase):
    """Read-only view of a stretch of an open file."""

    def __init__(self, file: io.BufferedReader, offset: int, size: int) -> None:
        self._file, self._offset, self._size, self._at = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, to: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + to)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(0, self._size - self._at))
        self._file.seek(self._offset + self._at)
        got = self._file.readinto(view[:wanted]) if wanted else 0
        self._at += got
        return int(got)

    def close(self) -> None:
        self._file.close()
        super().close()
