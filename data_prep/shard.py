"""Step 5, shard: collect the step results of every recording into WebDataset tars with an index.

Tars are deterministic (fixed order, times and owners). ``dataset.json`` is removed first and written last, so that a
reader never takes a half-written data set for a whole one.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.data.schema import (
    INDEX_NAME,
    INFO_NAME,
    SCHEMA_VERSION,
    SIDES,
    DatasetInfo,
    FeatureForm,
    IndexRow,
    Interaction,
    InteractionMeta,
    ShardInfo,
    SideArrays,
    file_sha256,
    forms_of,
    is_current,
    read_info,
    shard_key,
    write_index,
    write_info,
)
from avatar_lab.events.segments import to_mask
from data_prep.index_row import figures_of, index_row
from data_prep.manifest import Recording
from data_prep.open_shard import OpenShard
from data_prep.settings import Settings
from data_prep.steps import outages
from data_prep.steps.features import passed
from data_prep.steps.store import StepResult, StepStore


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One recording that goes into the shards."""

    recording: Recording
    split: str
    keys: dict[str, str]
    """Key of each step's result."""


class ShardWriter:
    """Writes a data set; idempotent: the same entries give the same bytes, and a finished equal data set is kept.

    Args:
        max_shard_bytes: a shard is closed once it is larger than this.
    """

    def __init__(
        self,
        *,
        out: Path,
        store: StepStore,
        settings: Settings,
        audio_codec: AudioCodec,
        video_codec: VideoCodec,
        max_shard_bytes: int,
    ) -> None:
        self._out, self._store = Path(out), store
        self._layout, self._sync = settings.layout, settings.sync
        self._audio_codec, self._video_codec = audio_codec, video_codec
        self._max_shard_bytes = max_shard_bytes

    def write(self, entries: Sequence[Entry]) -> DatasetInfo:
        """Write shards, index and ``dataset.json``.

        Raises:
            ValueError: two recordings have the same shard key.
        """
        ordered = sorted(entries, key=lambda e: (e.split, shard_key(e.recording.interaction)))
        _refuse_duplicates(ordered)
        content_hash = self._content_hash(ordered)
        finished = self._finished(content_hash)
        if finished is not None:
            return finished
        self._out.mkdir(parents=True, exist_ok=True)
        (self._out / INFO_NAME).unlink(missing_ok=True)
        for stale in self._out.glob("*.tar*"):
            stale.unlink()
        rows: list[IndexRow] = []
        shards: list[ShardInfo] = []
        shape: tuple[tuple[int, int, int], int] | None = None
        forms: set[FeatureForm] = set()
        open_shard: OpenShard | None = None
        for entry in ordered:
            if open_shard is not None and (open_shard.split != entry.split or open_shard.size > self._max_shard_bytes):
                shards.append(open_shard.close())
                open_shard = None
            if open_shard is None:
                number = sum(shard.name.startswith(f"{entry.split}-") for shard in shards)
                open_shard = OpenShard(self._out, entry.split, number)
            results = {step: self._result(step, key) for step, key in entry.keys.items()}
            interaction = self._interaction(entry, results)
            forms.update(form for side in interaction.features.values() for form in forms_of(side))
            a = interaction.sides["a"]
            height, width, channels = a.avatar_latents.shape[1:]
            shape = (height, width, channels), a.user_features.shape[1]
            members = open_shard.add(interaction)
            figures = figures_of(entry.recording, results, self._sync)
            rows.append(index_row(interaction, results["events"], figures, members, open_shard.name))
        if open_shard is None or shape is None:
            raise ValueError("no recording is left to write; see the report for why each was skipped")
        shards.append(open_shard.close())
        index_sha256 = write_index(self._out / INDEX_NAME, rows)
        info = self._info(rows, shards, content_hash, index_sha256, *shape, features=sorted(forms))
        write_info(self._out / INFO_NAME, info)
        return info

    def _result(self, step: str, key: str) -> StepResult:
        result = self._store.load(step, key)
        if result is None:
            raise ValueError(f"result {step}/{key} vanished from the work folder: run the preparation again")
        return result

    def _interaction(self, entry: Entry, results: dict[str, StepResult]) -> Interaction:
        recording, probed, found = entry.recording, results["probe"], results["events"]
        arrays, rows = results["encode"].arrays, self._store.rows("encode", entry.keys["encode"])
        sides = {}
        for side in SIDES:
            count, latents = len(rows[f"{side}.audio_tokens"]), len(rows[f"{side}.avatar_latents"])
            heard = results["augment"].arrays[f"{side}.user_tokens"] if "augment" in results else None
            rate = float(self._layout.audio_rate)
            masks = {
                name: to_mask([tuple(s) for s in found.arrays[f"{side}.{key}"].tolist()], rate=rate, count=count)
                for name, key in (("script", "script"), ("sound", "speech"))
            }
            heard_T = outages.recorded(found.arrays[f"{side}.{outages.MICROPHONE}"], rate=rate, count=count)
            seen_F = outages.recorded(
                found.arrays[f"{side}.{outages.CAMERA}"],
                rate=float(self._layout.latent_rate),
                count=latents,
                settle=self._video_codec.spec.warm_latents,
            )
            sides[side] = SideArrays(
                audio_tokens=arrays[f"{side}.audio_tokens"],
                avatar_latents=rows[f"{side}.avatar_latents"],
                user_features=rows[f"{side}.user_features"],
                audio_valid=arrays[f"{side}.audio_valid"] & heard_T,
                video_valid=arrays[f"{side}.video_valid"] & seen_F,
                pictures=results["pictures"].arrays[f"{side}.pictures"],
                picture_frames=results["pictures"].arrays[f"{side}.picture_frames"],
                user_tokens=heard,
                **masks,
            )
        meta = InteractionMeta(
            interaction=recording.interaction,
            source=recording.source,
            group=recording.group,
            participants={side: recording.sides[side].participant for side in SIDES},
            split=entry.split,
            seconds=float(probed.values["seconds"]),
            source_fps={side: facts["fps"] for side in SIDES if (facts := probed.values.get(f"{side}.video"))},
            source_sample_rate={side: probed.values[f"{side}.audio"]["sample_rate"] for side in SIDES},
            license=recording.license,
            non_commercial=recording.non_commercial,
            audio_fingerprint=self._audio_codec.spec.fingerprint,
            video_fingerprint=self._video_codec.spec.fingerprint,
            sample_rate=self._layout.sample_rate,
            audio_rate=str(self._layout.audio_rate),
            fps=str(self._layout.fps),
            frames_per_latent=self._layout.frames_per_latent,
            step_keys=entry.keys,
        )
        return Interaction(
            key=shard_key(recording.interaction),
            meta=meta,
            sides=sides,
            events=found.tables["events"],
            given_events=found.tables.get("given_events"),
            features=passed(results["features"]) if "features" in results else {},
        )

    def _content_hash(self, entries: Sequence[Entry]) -> str:
        stated = [
            [
                e.recording.interaction,
                e.split,
                e.keys,
                e.recording.license,
                e.recording.non_commercial,
                e.recording.group,
            ]
            for e in entries
        ]
        everything = {"schema": SCHEMA_VERSION, "shard_bytes": self._max_shard_bytes, "entries": stated}
        return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()

    def _finished(self, content_hash: str) -> DatasetInfo | None:
        """The data set that is already there, if it is whole and would come out the same."""
        if not (self._out / INFO_NAME).is_file():
            return None
        try:
            info = read_info(self._out)
        except ValueError:  # of an older schema, or damaged: it is about to be replaced
            return None
        index = self._out / INDEX_NAME
        whole = index.is_file() and file_sha256(index) == info.index_sha256 and is_current(index)
        for shard in info.shards:
            path = self._out / shard.name
            whole = whole and path.is_file() and file_sha256(path) == shard.sha256
        return info if whole and info.content_hash == content_hash else None

    def _info(
        self,
        rows: Sequence[IndexRow],
        shards: Sequence[ShardInfo],
        content_hash: str,
        index_sha256: str,
        latent_shape: tuple[int, int, int],
        user_features: int,
        *,
        features: Sequence[FeatureForm],
    ) -> DatasetInfo:
        licenses: dict[str, float] = defaultdict(float)
        splits: dict[str, dict[str, float]] = {}
        people: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            licenses[row.license] += row.seconds / 3600
            split = splits.setdefault(row.split, {"interactions": 0, "seconds": 0.0})
            split["interactions"] += 1
            split["seconds"] += row.seconds
            people[row.split] |= {row.participant_a, row.participant_b}
        for name, split in splits.items():
            split["participants"] = len(people[name])
        audio, video = self._audio_codec.spec, self._video_codec.spec
        return DatasetInfo(
            content_hash=content_hash,
            index_sha256=index_sha256,
            sample_rate=self._layout.sample_rate,
            audio_rate=str(self._layout.audio_rate),
            fps=str(self._layout.fps),
            frames_per_latent=self._layout.frames_per_latent,
            audio_codec=audio.name,
            audio_fingerprint=audio.fingerprint,
            num_codebooks=audio.num_codebooks,
            codebook_size=audio.codebook_size,
            silence_tokens=tuple(int(token) for token in self._audio_codec.silence_K),
            video_codec=video.name,
            video_fingerprint=video.fingerprint,
            latent_shape=latent_shape,
            user_features=user_features,
            shards=tuple(shards),
            splits=splits,
            licenses=dict(licenses),
            non_commercial=any(row.non_commercial for row in rows),
            features=tuple(features),
        )


def _refuse_duplicates(entries: Sequence[Entry]) -> None:
    seen: dict[str, str] = {}
    for entry in entries:
        name = entry.recording.interaction
        other = seen.setdefault(shard_key(name), name)
        if other != name:
            raise ValueError(f"recordings {other!r} and {name!r} have the same shard key; rename one of them")
