"""Recorded media of one person, on the grids of a layout, as a live source would deliver it.

Frames are picked by presentation time (the newest one shown at each tick of the layout's clock), never by index.

    P video frames   H, W, C   S samples
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from avatar_lab.evaluation.media import Media
from avatar_lab.layout import Layout


def read_recording(stem: Path, layout: Layout, *, height: int, width: int, seconds: float) -> Media:
    """``<stem>.mp4`` and ``<stem>.wav``, at most the first ``seconds``, cut to equal length.

    Raises:
        ValueError: a file is missing or cannot be decoded.
    """
    video_path, audio_path = stem.with_name(stem.name + ".mp4"), stem.with_name(stem.name + ".wav")
    for path in (video_path, audio_path):
        if not path.is_file():
            raise ValueError(f"there is no {path}: recording= names <folder>/<id> without the speaker's suffix")
    video_PHWC = _read_video(video_path, layout, height=height, width=width, seconds=seconds)
    audio_S = _read_audio(audio_path, layout.sample_rate)
    length = Fraction(min(Fraction(len(video_PHWC)) / layout.fps, Fraction(len(audio_S), layout.sample_rate)))
    return Media(video_PHWC=video_PHWC, audio_S=audio_S).first(float(length), layout)


def _read_video(path: Path, layout: Layout, *, height: int, width: int, seconds: float) -> NDArray[np.uint8]:
    frames: list[NDArray[np.uint8]] = []
    wanted = int(seconds * layout.fps)
    try:
        with av.open(str(path)) as container:
            start = None
            newest: Any = None
            for frame in container.decode(video=0):
                time = Fraction(frame.pts or 0) * Fraction(frame.time_base or 0)
                start = time if start is None else start
                while newest is not None and len(frames) < wanted and Fraction(len(frames)) / layout.fps < time - start:
                    frames.append(newest)
                newest = frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
                if len(frames) >= wanted:
                    break
            if newest is not None and len(frames) < wanted:
                frames.append(newest)
    except av.FFmpegError as error:
        raise ValueError(f"{path} cannot be decoded ({error}): record or copy it again") from error
    if not frames:
        raise ValueError(f"{path} has no video frames: record or copy it again")
    return np.stack(frames)


def _read_audio(path: Path, sample_rate: int) -> NDArray[np.float32]:
    try:
        wav_SC, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} cannot be decoded ({error}): record or copy it again") from error
    if rate == sample_rate:
        return wav_SC.mean(1)
    return resample_poly(wav_SC.mean(1), sample_rate, rate).astype(np.float32)
