"""Members of an uncompressed tar archive as blobs, listed once and remembered: nothing is extracted, nothing trusted.

A data set of terabytes holds thousands of archives, and the two people of a conversation lie in different ones. Reading
the headers costs one seek per member; the listing is kept in a small database by size and modification time.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from data_prep.blob import Blob
from data_prep.remembered import FileMemory, stamp_of

MAX_MEMBERS = 1_000_000
"""More than this is refused as an attack on memory."""
_END_BYTES = 1 << 20
"""An archive ends with zeros, padded to a record of 10 KiB by default; more after the last member is damage."""


class DamagedArchive(Exception):
    """The archive is cut off or its headers are broken; ``members`` are those before the damage."""

    def __init__(self, path: Path, detail: str, members: list[Blob]) -> None:
        super().__init__(f"{path.name}: {detail}")
        self.members = members


def list_members(path: Path) -> list[Blob]:
    """Regular files of the archive, by the last part of their names; links, devices and folders are passed over.

    Raises:
        DamagedArchive: a header is broken, or the last member or the end marker is cut off.
    """
    found: list[Blob] = []
    size = path.stat().st_size
    end = 0
    try:
        with tarfile.open(path, "r:") as archive:
            for count, member in enumerate(archive, start=1):
                if count > MAX_MEMBERS:
                    raise DamagedArchive(path, f"more than {MAX_MEMBERS} members", found)
                end = member.offset_data + (-(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
                if end > size:
                    raise DamagedArchive(path, f"{member.name!r} is cut off", found)
                if member.isreg() and not member.issparse():
                    name = PurePosixPath(member.name).name
                    found.append(Blob(path=path, name=name, offset=member.offset_data, size=member.size))
    except tarfile.TarError as error:
        raise DamagedArchive(path, str(error), found) from error
    with path.open("rb") as file:  # tarfile takes a zeroed header for the end
        file.seek(end)
        rest = file.read(_END_BYTES)
    if size - end > _END_BYTES or rest.strip(b"\0"):
        raise DamagedArchive(path, f"{size - end} bytes follow its end marker", found)
    if len(rest) < 2 * tarfile.BLOCKSIZE:
        raise DamagedArchive(path, "its end marker is cut off", found)
    return found


class TarIndex:
    """Listings of archives, remembered in ``database``."""

    def __init__(self, database: Path) -> None:
        self._memory = FileMemory(database)

    def members(self, paths: Iterable[Path], *, threads: int = 8) -> Iterator[tuple[Path, list[Blob], str | None]]:
        """Each archive with its members and what is wrong with it, in the order given; unknown ones are listed in
        ``threads``, which wait for the disk."""
        stamps = {path: stamp_of(path) for path in paths}
        known = {path: self._memory.recall(str(path.absolute()), stamp) for path, stamp in stamps.items()}
        with ThreadPoolExecutor(threads) as pool:
            listed = {path: pool.submit(_list, path) for path, listing in known.items() if listing is None}
            for path, listing in known.items():
                if listing is None:
                    listing = listed[path].result()
                    self._memory.remember(str(path.absolute()), stamps[path], listing)
                plain = json.loads(listing)
                yield path, [Blob(path=path, name=n, offset=o, size=s) for n, o, s in plain["members"]], plain["fault"]

    def close(self) -> None:
        """Close the database."""
        self._memory.close()


def _list(path: Path) -> str:
    """The listing as it is remembered: members up to the damage, and what that is."""
    try:
        members, fault = list_members(path), None
    except DamagedArchive as damage:
        members, fault = damage.members, str(damage)
    return json.dumps({"members": [(m.name, m.offset, m.size) for m in members], "fault": fault})
