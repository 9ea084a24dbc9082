"""What the data set in the output folder was made with: another one takes its place only where that is asked for.

``settings.json`` beside the shards states everything that decides what is in them, but for the recordings. A data set
that only grows is written anew without a question.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.data.schema import INDEX_NAME, INFO_NAME, DatasetInfo, read_index, read_info
from data_prep.pipeline import Prepared
from data_prep.selection import OPTIONAL
from data_prep.settings import Settings
from data_prep.shard import Entry
from data_prep.steps import augment, bleed, encode, events, features, motion, pictures, probe, sync, track, voice

SETTINGS_NAME = "settings.json"
_MODULES = (probe, sync, voice, bleed, track, motion, features, events, encode, augment, pictures)
_LISTED = 5
"""Differences and recordings that a message names."""
_HOW_TO = "overwrite=true replaces it; or choose another out="


def stated(
    settings: Settings,
    audio_codec: AudioCodec,
    video_codec: VideoCodec,
    *,
    splits: Mapping[str, float],
    allow_leakage: bool,
) -> dict[str, Any]:
    """Codecs, rates, parameters and step versions as plain values; without what bounds a run (time-outs, chunks)."""
    layout = settings.layout
    everything = {
        "sample_rate": layout.sample_rate,
        "audio_rate": str(layout.audio_rate),
        "fps": str(layout.fps),
        "frames_per_latent": layout.frames_per_latent,
        "audio_codec": f"{audio_codec.spec.name} {audio_codec.spec.fingerprint}",
        "video_codec": f"{video_codec.spec.name} {video_codec.spec.fingerprint}",
        **settings.stated(),
        "splits": dict(splits),
        "allow_leakage": allow_leakage,
        "version": {module.__name__.rpartition(".")[2]: module.VERSION for module in _MODULES},
    }
    return dict(json.loads(json.dumps(everything)))


def refuse_other(out: Path, now: Mapping[str, Any], *, overwrite: bool) -> None:
    """Refuse to replace a data set that was made with something else.

    Raises:
        ValueError: saying what differs.
    """
    if overwrite or not (out / INFO_NAME).is_file():
        return
    try:
        info = read_info(out)
    except ValueError as error:
        raise ValueError(f"{error}; {_HOW_TO}") from error
    path = out / SETTINGS_NAME
    if path.is_file():
        before = json.loads(path.read_text())
        # A step that was not there yet and is off now made no difference.
        idle = {step for step in OPTIONAL if now[step] is None} - set(before.get("version", {}))
        now = dict(now) | {"version": {step: v for step, v in now["version"].items() if step not in idle}}
    else:  # made before settings were stated: what its own description tells
        before = _of_info(info)
        now = {name: now[name] for name in before}
    changes = list(_differences(before, now))
    if changes:
        shown = "; ".join(changes[:_LISTED]) + (f"; and {len(changes) - _LISTED} more" if changes[_LISTED:] else "")
        raise ValueError(f"{out} holds a data set made with another configuration ({shown}): {_HOW_TO}")


def refuse_loss(out: Path, entries: Sequence[Entry], outcomes: Mapping[str, Prepared], *, overwrite: bool) -> None:
    """Refuse to replace a data set by one without some of its recordings.

    Raises:
        ValueError: naming them, and why they are gone.
    """
    if overwrite or not (out / INFO_NAME).is_file() or not (out / INDEX_NAME).is_file():
        return
    kept = {entry.recording.interaction for entry in entries}
    lost = [row.interaction for row in read_index(out / INDEX_NAME) if row.interaction not in kept]
    if lost:
        named = []
        for name in lost[:_LISTED]:
            outcome = outcomes.get(name)
            named.append(f"{name}: {'no longer in the source' if outcome is None else outcome.skip}")
        more = ", ..." if lost[_LISTED:] else ""
        raise ValueError(
            f"{out} holds {len(lost)} recordings that the new data set would lack ({', '.join(named)}{more}): {_HOW_TO}"
        )


def write_settings(out: Path, now: Mapping[str, Any]) -> None:
    """State what the data set that is about to be written is made with."""
    out.mkdir(parents=True, exist_ok=True)
    (out / SETTINGS_NAME).write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")


def _of_info(info: DatasetInfo) -> dict[str, object]:
    """The part of ``stated`` that ``dataset.json`` holds."""
    return {
        "sample_rate": info.sample_rate,
        "audio_rate": info.audio_rate,
        "fps": info.fps,
        "frames_per_latent": info.frames_per_latent,
        "audio_codec": f"{info.audio_codec} {info.audio_fingerprint}",
        "video_codec": f"{info.video_codec} {info.video_fingerprint}",
    }


def _differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """``key: old -> new`` for every leaf that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield f"{path}: {before} -> {now}"
