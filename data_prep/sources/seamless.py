"""Seamless Interaction (Agrawal et al. 2025, arXiv:2506.22554) as released: tars, those tars extracted, the S3 tree.

A file id is ``V<vendor>_S<session>_I<interaction>_P<participant>``; a conversation is the two files whose ids agree up
to the participant. Session and participant numbers repeat across vendors, and interaction numbers are prompts used in
many sessions, so only the whole prefix names a conversation. The two people of one lie in different archives nearly
always: all of the data set is listed first, then paired.

Whatever lies below ``root`` is taken; files are told by name, so the three layouts may be mixed. Where it is present,
``assets/filelist.csv`` says what the release holds besides.
"""

from __future__ import annotations

import csv
import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from data_prep.blob import Blob
from data_prep.manifest import Recording, SideFiles, SkipReason
from data_prep.notes import Notes, SpeechNotes, segment
from data_prep.sources.tar_members import TarIndex

log = logging.getLogger(__name__)

FILE_ID = re.compile(r"V(?P<vendor>\d+)_S(?P<session>\d+)_I(?P<interaction>\d+)_P(?P<participant>\d+[A-Z]?)")
"""165 participants of vendor 00 have a letter; the publisher's own pattern drops it and so names other people."""
LABELS, SPLITS = ("improvised", "naturalistic"), {"train": "train", "dev": "val", "test": "test"}
LICENSE = "CC-BY-NC-4.0"
_KINDS = {".mp4": "video", ".wav": "audio", ".npz": "features", ".json": "notes"}


@dataclass(kw_only=True)
class _File:
    """All that is on disk of one file id, in one place of the release."""

    label: str
    split: str
    parts: dict[str, Blob] = field(default_factory=dict)


class Seamless:
    """Source of Seamless Interaction.

    Args:
        root: folder with the release or any part of it.
        vendors: take only these (``"00"`` as in ``V00``); ``None`` takes all.
        labels: take only these of ``improvised`` and ``naturalistic``.
        released_splits: keep the release's splits, in which 26 people are in two; else people are kept apart.
        index: file that remembers the positions of tar members; default ``<root>/.avatar_lab_index.sqlite``.
        threads: archives listed at once.

    Raises:
        ValueError: the folder does not exist, or a label is unknown.
    """

    def __init__(
        self,
        *,
        root: Path,
        name: str = "seamless",
        vendors: Sequence[str] | None = None,
        labels: Sequence[str] = LABELS,
        released_splits: bool = False,
        index: Path | None = None,
        threads: int = 8,
    ) -> None:
        self.root, self.name = Path(root), name
        if not self.root.is_dir():
            raise ValueError(f"source folder {self.root} does not exist: set source.root to where the release lies")
        if unknown := set(labels) - set(LABELS):
            raise ValueError(f"unknown labels {sorted(unknown)}; there are {list(LABELS)}")
        self.findings: Counter[str] = Counter()
        """What listing found besides recordings, by kind; goes into the report."""
        self._vendors = None if vendors is None else {str(vendor) for vendor in vendors}
        self._labels, self._released_splits = tuple(labels), released_splits
        self._index = Path(index) if index is not None else self.root / ".avatar_lab_index.sqlite"
        self._threads = threads

    def recordings(self) -> Iterator[Recording]:
        """One row per conversation of which anything is on disk, by identifier."""
        self.findings.clear()
        files = self._one_place_each(self._listed())
        released = self._released()
        conversations: dict[str, list[str]] = defaultdict(list)
        for file_id in sorted(files):
            conversations[file_id.rpartition("_")[0]].append(file_id)
        for interaction, members in conversations.items():
            expected = released.get(interaction, set(members))
            yield self._recording(interaction, {file_id: files[file_id] for file_id in members}, expected)

    def _recording(self, interaction: str, files: dict[str, _File], expected: set[str]) -> Recording:
        ordered = sorted(files)
        vendor = interaction.partition("_")[0]
        sides = {
            side: SideFiles(
                participant=f"{vendor}_{file_id.rpartition('_')[2]}",
                video=files[file_id].parts.get("video"),
                audio=files[file_id].parts.get("audio"),
                features=files[file_id].parts.get("features"),
                notes=_notes(files[file_id].parts.get("notes")),
            )
            for side, file_id in zip(("a", "b"), ordered, strict=False)
        }
        splits = {SPLITS[file.split] for file in files.values()}
        problem = None
        if len(ordered) > 2:
            problem = SkipReason.NOT_A_PAIR, f"{len(ordered)} participants: {ordered}"
        elif len(ordered) < 2:
            absent = sorted(expected - set(ordered))
            detail = f"{absent[0]} is not on disk" if absent else "its partner is not on disk"
            problem = SkipReason.NOT_ON_DISK, f"{detail}; download it, or leave this conversation out"
        elif len(splits) > 1:
            problem = SkipReason.NOT_A_PAIR, f"its two files are in splits {sorted(splits)}"
        return Recording(
            interaction=interaction,
            source=self.name,
            group="",
            sides=sides,
            license=LICENSE,
            non_commercial=True,
            split=min(splits) if self._released_splits else None,
            problem=problem,
        )

    # What is on disk -------------------------------------------------------------------------------------------------
    def _listed(self) -> Iterator[tuple[str, str, Path, Blob]]:
        """(label, split, folder or archive, blob) of every file whose name is a file id."""
        archives: list[tuple[str, str, Path]] = []
        for path in sorted(self.root.rglob("*")):
            place = self._place(path)
            if place is None or not path.is_file():
                continue
            if path.suffix == ".tar":
                archives.append((*place, path))
            elif path.suffix in _KINDS:
                yield *place, path.parent, Blob.of(path)
        index = TarIndex(self._index)
        try:
            listings = index.members([path for *_, path in archives], threads=self._threads)
            for (label, split, _), (path, members, fault) in zip(archives, listings, strict=True):
                if fault is not None:
                    self.findings["damaged archive"] += 1
                    log.warning("%s; what comes before the damage is used", fault)
                for blob in members:
                    yield label, split, path, blob
        finally:
            index.close()

    def _place(self, path: Path) -> tuple[str, str] | None:
        """Label and split from the folders above a file."""
        folders = path.relative_to(self.root.parent).parts[:-1]
        for label, split in pairwise(folders):
            if label in self._labels and split in SPLITS:
                return label, split
        return None

    def _one_place_each(self, listed: Iterator[tuple[str, str, Path, Blob]]) -> dict[str, _File]:
        """Files by id. The release repeats some 200 ids in other splits, labels or archives; the first place that has
        sound and picture counts, the others are reported."""
        places: dict[str, dict[tuple[str, str, Path], _File]] = defaultdict(dict)
        for label, split, where, blob in listed:
            stem, dot, suffix = blob.name.rpartition(".")
            match, kind = FILE_ID.fullmatch(stem), _KINDS.get(dot + suffix)
            if match is None or kind is None:
                self.findings["file of another name"] += 1
            elif self._vendors is None or match["vendor"] in self._vendors:
                # the S3 tree keeps sound and picture of one file in two folders
                key = (label, split, where.parent if where.name in ("audio", "video") else where)
                file = places[stem].setdefault(key, _File(label=label, split=split))
                if kind in file.parts:
                    self.findings["member repeated in its archive"] += 1
                file.parts.setdefault(kind, blob)
        chosen = {}
        for file_id, found in places.items():
            whole = [file for file in found.values() if {"video", "audio"} <= set(file.parts)]
            chosen[file_id] = (whole or list(found.values()))[0]
            self.findings["file repeated elsewhere in the release"] += len(found) - 1
        return chosen

    def _released(self) -> dict[str, set[str]]:
        """File ids of every conversation by ``filelist.csv``; empty where that is not there."""
        paths = [self.root / "assets" / "filelist.csv", self.root / "filelist.csv"]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            return {}
        found: dict[str, set[str]] = defaultdict(set)
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if FILE_ID.fullmatch(row["file_id"]):
                    found[row["file_id"].rpartition("_")[0]].add(row["file_id"])
        return found


def _notes(blob: Blob | None) -> Notes | None:
    return None if blob is None else Notes(blob=blob, read=read_notes)


def read_notes(raw: bytes) -> SpeechNotes:
    """Words and voice activity of a released ``json``; keys that are not known are passed over.

    Raises:
        ValueError: it is no JSON object, or its parts are not lists of objects.
    """
    plain = json.loads(raw)
    if not isinstance(plain, dict):
        raise ValueError("no JSON object")
    utterances, voice = plain.get("metadata:transcript"), plain.get("metadata:vad")
    words = None
    if utterances is not None:
        words = []
        for utterance in utterances:
            timed = [segment(word) for word in utterance.get("words") or []]
            whole = segment(utterance)
            unsure = not timed or None in timed
            words += [span for span in timed if span is not None] + ([whole] if unsure and whole is not None else [])
    heard = None if voice is None else [span for entry in voice if (span := segment(entry)) is not None]
    return SpeechNotes(words=words, voice=heard)
