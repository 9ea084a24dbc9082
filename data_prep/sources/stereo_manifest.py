"""Stereo recordings of two people, one per channel: the manifest of moshi-finetune, left = agent, right = user.

A jsonl file has one ``{"path": ..., "duration": ...}`` per line, paths relative to it; beside each sound file may lie
``<stem>.json`` with ``{"alignments": [[word, [start, end], speaker], ...]}``. There are no pictures, so only sounds are
learned. Either person may be the avatar; that doubles the data, as swapping channels does elsewhere.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from data_prep.blob import Blob
from data_prep.manifest import Recording, SideFiles, SkipReason
from data_prep.notes import Notes, SpeechNotes, segment

SPEAKERS = {"a": ("SPEAKER_MAIN", "SPEAKER_00"), "b": ("SPEAKER_OTHER", "SPEAKER_01")}
"""Names under which sidecars list the words of the left and of the right channel."""


class StereoManifest:
    """Source of stereo recordings.

    Args:
        root: folder that paths may not leave.
        manifest: the jsonl file below it.
        speakers: names of the left and the right channel's speaker in sidecars.
        license, non_commercial: of all recordings.

    Raises:
        ValueError: the manifest does not exist.
    """

    def __init__(
        self,
        *,
        root: Path,
        manifest: str,
        name: str = "stereo_manifest",
        speakers: dict[str, Sequence[str]] | None = None,
        license: str = "unknown",
        non_commercial: bool = True,
    ) -> None:
        self.root, self.name = Path(root), name
        self.findings: Counter[str] = Counter()
        self._manifest = self.root / manifest
        if not self._manifest.is_file():
            raise ValueError(f"manifest {self._manifest} does not exist: set source.root and source.manifest")
        self._speakers = {side: tuple(names) for side, names in (speakers or SPEAKERS).items()}
        self._license, self._non_commercial = license, non_commercial

    def recordings(self) -> Iterator[Recording]:
        """Rows by identifier, the path without its suffix; a line that cannot be read stops the listing.

        Raises:
            ValueError: naming the line.
        """
        rows: dict[str, Recording] = {}
        self.findings.clear()
        for number, line in enumerate(self._manifest.read_text().splitlines(), start=1):
            if not line.strip():
                continue
            try:
                named = json.loads(line)["path"]
                if not isinstance(named, str):
                    raise TypeError(f"path is {named!r}")
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(f"{self._manifest}, line {number}: {error!r}; each needs a path") from error
            row = self._recording(named)
            if row.interaction in rows:
                self.findings["line repeated"] += 1
            rows.setdefault(row.interaction, row)
        yield from (rows[interaction] for interaction in sorted(rows))

    def _recording(self, named: str) -> Recording:
        path = self.root / named
        interaction = Path(named).with_suffix("").as_posix()
        problem = None
        if "://" in named or not path.resolve().is_relative_to(self.root.resolve()):
            problem = SkipReason.UNREADABLE, f"{named} lies outside of {self.root}"
        sidecar = path.with_suffix(".json")
        has_notes = problem is None and sidecar.is_file()
        sides = {
            side: SideFiles(
                participant=f"{interaction}:{side}",
                video=None,
                audio=Blob.of(path),
                channel=channel,
                notes=Notes(blob=Blob.of(sidecar), read=partial(read_alignments, speakers=self._speakers[side]))
                if has_notes
                else None,
            )
            for channel, side in enumerate(("a", "b"))
        }
        return Recording(
            interaction=interaction,
            source=self.name,
            group="",
            sides=sides,
            license=self._license,
            non_commercial=self._non_commercial,
            audio_only=True,
            problem=problem,
        )


def read_alignments(raw: bytes, *, speakers: Sequence[str]) -> SpeechNotes:
    """Words of the speakers of one channel; ``None`` where the sidecar lists nobody by these names.

    Raises:
        ValueError: it has no list of alignments.
    """
    plain = json.loads(raw)
    if not isinstance(plain, dict) or not isinstance(plain.get("alignments"), list):
        raise ValueError("no object with a list of alignments")
    words, known = [], False
    for _, times, speaker in plain["alignments"]:
        if speaker in speakers:
            known = True
            start, end = (None, None) if times is None else times
            if (span := segment({"start": start, "end": end})) is not None:
                words.append(span)
    return SpeechNotes(words=words if known else None, voice=None)
