"""Writes miniature releases of Seamless Interaction, faithful to what is released, traps included.

Each archive holds whole bundles ``<file id>.{mp4,wav,npz,json}``; partners lie in different archives. Arrays carry the
released names, types and shapes (data set card and a published audit of it), which differ from the publisher's own test
fixtures.
"""

from __future__ import annotations

import io
import json
import tarfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

from tests.data_prep.recordings import Span, ramp, tones, write_video

RATE = 48_000
FPS = Fraction(30000, 1001)
WORDS: list[Span] = [(0.5, 4.0), (4.6, 6.0)]


def bundle(folder: Path, file_id: str, *, seconds: float = 12.0, speech: list[Span] | None = None) -> dict[str, bytes]:
    """Members of one file id; ``seconds`` 0 gives the empty bundles that look complete."""
    spoken = WORDS if speech is None else speech
    video, sound = folder / f"{file_id}.mp4", io.BytesIO()
    frames = ramp(seconds, fps=float(FPS), size=64)
    if len(frames):
        write_video(video, frames, fps=FPS)
        picture = video.read_bytes()
        video.unlink()
    else:
        picture = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + b"\0\0\0\x08free" + bytes(221)
    soundfile.write(sound, tones(seconds, spoken, sample_rate=RATE), RATE, "PCM_16", format="WAV")
    return {
        "mp4": picture,
        "wav": sound.getvalue(),
        "npz": features(len(frames)),
        "json": json.dumps(notes(file_id, spoken)).encode(),
    }


def features(frames: int) -> bytes:
    """Arrays as released: boxes in pixels of the file's own raster, validity, keypoints, body pose."""
    box = np.tile(np.float32([16, 8, 48, 56]), (frames, 1))
    arrays = {
        "boxes_and_keypoints:box": box,
        "boxes_and_keypoints:is_valid_box": np.ones(frames, bool),
        "boxes_and_keypoints:keypoints": np.zeros((frames, 133, 3), np.float32),
        "smplh:body_pose": np.zeros((frames, 21, 3), np.float32),
        "smplh:global_orient": np.zeros((frames, 3), np.float32),
        "smplh:is_valid": np.ones(frames, bool),
        "movement:is_valid": np.ones((frames, 1), np.float32),
    }
    target = io.BytesIO()
    np.savez_compressed(target, allow_pickle=False, **arrays)
    return target.getvalue()


def notes(file_id: str, spoken: list[Span]) -> dict[str, object]:
    """Transcript and voice activity; some words have no time, and keys that nobody documented are there."""
    utterances = [
        {
            "words": [
                {"word": "so", "start": start, "end": end, "score": 0.9},
                {"word": "um", "start": None, "end": None},
            ],
            "start": start,
            "end": end,
            "transcript": "so um",
        }
        for start, end in spoken
    ]
    return {
        "id": file_id,
        "metadata:transcript": utterances,
        "metadata:vad": [{"start": start, "end": end} for start, end in spoken],
        "annotations:3P-IS": [{"annotation": "calm", "start_ts": 0.0, "end_ts": 2.0}],
        "undocumented": {"version": 4},
    }


def write_tar(path: Path, bundles: dict[str, dict[str, bytes]]) -> None:
    """One archive of the release."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for file_id, members in bundles.items():
            for suffix, raw in members.items():
                info = tarfile.TarInfo(f"{file_id}.{suffix}")
                info.size = len(raw)
                archive.addfile(info, io.BytesIO(raw))


def write_extracted(folder: Path, bundles: dict[str, dict[str, bytes]]) -> None:
    """The same archive as the publisher's downloader leaves it: a folder of its members."""
    folder.mkdir(parents=True, exist_ok=True)
    for file_id, members in bundles.items():
        for suffix, raw in members.items():
            (folder / f"{file_id}.{suffix}").write_bytes(raw)


def write_s3(root: Path, label: str, split: str, bundles: dict[str, dict[str, bytes]]) -> None:
    """The S3 tree: sound and picture in folders of their own."""
    for file_id, members in bundles.items():
        for kind, suffix in (("video", "mp4"), ("audio", "wav")):
            path = root / label / split / kind / f"{file_id}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(members[suffix])


def write_filelist(root: Path, rows: list[tuple[str, str, str]]) -> None:
    """``assets/filelist.csv`` with (file id, label, split)."""
    (root / "assets").mkdir(parents=True, exist_ok=True)
    lines = ["file_id,label,split,batch_idx,archive_idx,has_imitator_movement,has_annotation_1p,has_annotation_3p"]
    lines += [f"{file_id},{label},{split},0,{number},0,0,0" for number, (file_id, label, split) in enumerate(rows)]
    (root / "assets" / "filelist.csv").write_text("\n".join(lines) + "\n")
