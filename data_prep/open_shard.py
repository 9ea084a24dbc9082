"""One WebDataset tar file while it is being written, with the position and crc32 of every member."""

from __future__ import annotations

import tarfile
import tempfile
import zlib
from pathlib import Path

from avatar_lab.data.schema import Interaction, Member, ShardInfo, file_sha256, shard_name, to_members

_TAR_HEADER = 512
"""Bytes between the end of the last member and the data of the next; USTAR headers never grow."""
_IN_MEMORY = 4 << 20
"""Bytes of a member that are gathered in memory; what is larger goes through a file."""


class OpenShard:
    """A tar file being written; it gets its name when it is complete."""

    def __init__(self, out: Path, split: str, number: int) -> None:
        self.split = split
        self.name = shard_name(split, number)
        self._path = out / self.name
        self._unfinished = self._path.with_suffix(".tar.part")
        self._file = self._unfinished.open("wb")
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)
        self._samples = 0

    @property
    def size(self) -> int:
        return self._file.tell()

    def add(self, interaction: Interaction) -> tuple[Member, ...]:
        """Append a sample; where its members lie."""
        members = []
        for name, pieces in to_members(interaction).items():
            info = tarfile.TarInfo(f"{interaction.key}.{name}")
            offset, crc32 = self._file.tell() + _TAR_HEADER, 0
            with tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(self._path.parent)) as content:
                for piece in pieces:
                    content.write(piece)
                    crc32 = zlib.crc32(piece, crc32)
                info.size = content.tell()  # a tar file says it before the data
                content.seek(0)
                self._tar.addfile(info, content)
            members.append(Member(name=name, offset=offset, size=info.size, crc32=crc32))
        self._samples += 1
        return tuple(members)

    def close(self) -> ShardInfo:
        self._tar.close()
        self._file.close()
        self._unfinished.rename(self._path)
        return ShardInfo(
            name=self.name,
            size=self._path.stat().st_size,
            sha256=file_sha256(self._path),
            samples=self._samples,
        )
