"""Recordings as pairs of files: ``<id>_speaker1.mp4/.wav`` and ``<id>_speaker2.mp4/.wav`` in one folder tree.

This is the layout of DualTalk, of the embedded world, and the easiest one to bring one's own data into. Suffixes are
configurable, so ``expert.mp4`` / ``novice.mp4`` style names work too, and tags for names that differ by kind, such as
``expert.video.mp4`` beside ``expert.close.wav``. A sidecar JSON may name participants, split, group and licence;
without it every file is taken for a different person.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from avatar_lab.data.schema import SIDES
from data_prep.blob import Blob
from data_prep.manifest import Recording, SideFiles


class PairedFiles:
    """Source of paired files.

    Args:
        root: folder that is searched with all its subfolders.
        suffixes: what follows the identifier in the file names of side ``a`` and side ``b``.
        tags: what follows the suffix in the names of ``video``, ``audio`` and ``features`` files.
        video_extensions, audio_extensions, feature_extensions: with the dot; the first that exists is used. Features
            are arrays per frame that the data set brings along, such as FLAME parameters.
        feature_rate: rows per second of feature files that have no row for every frame of a video, such as ``25`` or
            ``30000/1001``; ``None``: not known, and such files are refused.
        pictures: False where the data set has none, as DualTalk; video losses are then masked.
        events_suffix: name of the source's own event table after the identifier.
        sidecar_suffix: name of a JSON file after the identifier, with any of ``participants`` (``{"a": .., "b": ..}``),
            ``split``, ``group``, ``license``, ``non_commercial``.
        license, non_commercial: of recordings whose sidecar does not say.

    Raises:
        ValueError: the folder does not exist, the suffixes are equal, or a rate is none.
    """

    def __init__(
        self,
        *,
        root: Path,
        name: str = "paired_files",
        suffixes: Sequence[str] = ("_speaker1", "_speaker2"),
        tags: Mapping[str, str] | None = None,
        video_extensions: Sequence[str] = (".mp4", ".mov", ".mkv", ".webm"),
        audio_extensions: Sequence[str] = (".wav", ".flac", ".m4a", ".mp3"),
        feature_extensions: Sequence[str] = (".npz",),
        feature_rate: float | str | None = None,
        pictures: bool = True,
        events_suffix: str = ".events.parquet",
        sidecar_suffix: str = ".world.json",
        license: str = "unknown",
        non_commercial: bool = True,
    ) -> None:
        self.root = Path(root)
        self.name = name
        self.findings: Counter[str] = Counter()
        if not self.root.is_dir():
            raise ValueError(f"source folder {self.root} does not exist: set source.root to where the recordings lie")
        if len(suffixes) != len(SIDES) or suffixes[0] == suffixes[1]:
            raise ValueError(f"suffixes {list(suffixes)} must be two different strings, one per participant")
        self._suffixes = dict(zip(SIDES, suffixes, strict=True))
        self._extensions = {
            "video": tuple(video_extensions),
            "audio": tuple(audio_extensions),
            "features": tuple(feature_extensions),
        }
        tags = dict(tags or {})
        unknown = sorted(set(tags) - set(self._extensions))
        if unknown:
            raise ValueError(f"source.tags names {unknown}; there are tags for {sorted(self._extensions)}")
        self._tags = {kind: tags.get(kind, "") for kind in self._extensions}
        self._feature_rate = _rate(feature_rate)
        self._pictures = pictures
        self._events_suffix = events_suffix
        self._sidecar_suffix = sidecar_suffix
        self._license = license
        self._non_commercial = non_commercial

    def recordings(self) -> Iterator[Recording]:
        """Rows in order of identifier; the identifier is the path below ``root`` without the suffix."""
        found: dict[str, dict[str, dict[str, Path]]] = {}
        for path in sorted(self.root.rglob("*")):
            match = self._match(path)
            if match is not None:
                interaction, side, kind = match
                found.setdefault(interaction, {}).setdefault(side, {}).setdefault(kind, path)
        for interaction in sorted(found):
            yield self._recording(interaction, found[interaction])

    def _match(self, path: Path) -> tuple[str, str, str] | None:
        """Identifier, side and kind that a file name stands for."""
        relative = path.relative_to(self.root).with_suffix("").as_posix()
        for kind, extensions in self._extensions.items():
            for side, suffix in self._suffixes.items():
                ending = suffix + self._tags[kind]
                if path.suffix.lower() in extensions and relative.endswith(ending) and path.is_file():
                    return relative.removesuffix(ending).rstrip("/"), side, kind
        return None

    def _recording(self, interaction: str, files: dict[str, dict[str, Path]]) -> Recording:
        sidecar = self._sidecar(interaction)
        participants = sidecar.get("participants", {})
        events = self.root / f"{interaction}{self._events_suffix}"
        sides = {
            side: SideFiles(
                participant=str(participants.get(side, f"{interaction}{self._suffixes[side]}")),
                video=_blob(kinds.get("video")) if self._pictures else None,
                audio=_blob(kinds.get("audio")),
                features=_blob(kinds.get("features")),
                feature_rate=self._feature_rate,
            )
            for side, kinds in files.items()
        }
        return Recording(
            interaction=interaction,
            source=self.name,
            group=str(sidecar.get("group", "")),
            sides=sides,
            license=str(sidecar.get("license", self._license)),
            non_commercial=bool(sidecar.get("non_commercial", self._non_commercial)),
            events=events if events.is_file() else None,
            split=sidecar.get("split"),
            audio_only=not self._pictures,
        )

    def _sidecar(self, interaction: str) -> dict[str, Any]:
        path = self.root / f"{interaction}{self._sidecar_suffix}"
        if not path.is_file():
            return {}
        try:
            plain = json.loads(path.read_text())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no valid JSON ({error}): mend or remove it") from error
        if not isinstance(plain, dict) or not isinstance(plain.get("participants", {}), dict):
            raise ValueError(f"{path} must hold one JSON object, and one under participants if that is there")
        if not isinstance(plain.get("split"), str | None):
            raise ValueError(f"{path}: split {plain['split']!r} must be a name")
        return plain


def _blob(path: Path | None) -> Blob | None:
    return None if path is None else Blob.of(path)


def _rate(stated: float | str | None) -> Fraction | None:
    try:
        rate = None if stated is None else Fraction(str(stated))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate is not None and rate <= 0:
        raise ValueError(f"source.feature_rate is {stated!r}: give rows per second, such as 25 or 30000/1001")
    return rate
