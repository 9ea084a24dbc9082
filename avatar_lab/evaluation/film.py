"""Side-by-side videos with sound for people: user on the left, avatar on the right.

The small pictures are enlarged, the voices are mixed a little apart in stereo. H.264 and AAC, so that every browser
plays them.

    P video frames   H, W, C   S samples
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from avatar_lab.evaluation.media import Media
from avatar_lab.layout import Layout

HEIGHT = 256
GAP = 8
NEAR, FAR = 0.8, 0.35
"""Gain of a voice on its own side and on the other."""
VIDEO_OPTIONS = {"crf": "24", "preset": "veryfast", "tune": "animation"}


def write_side_by_side(path: Path, user: Media, avatar: Media, layout: Layout, *, seconds: float | None = None) -> None:
    """Write the first ``seconds`` (default: all) as mp4."""
    frames = min(len(user.video_PHWC), len(avatar.video_PHWC))
    if seconds is not None:
        frames = min(frames, int(seconds * layout.fps))
    samples = round(frames * layout.sample_rate / layout.fps)
    pictures_PHWC = side_by_side(user.video_PHWC[:frames], avatar.video_PHWC[:frames])
    sound_2S = mix(user.audio_S[:samples], avatar.audio_S[:samples])
    height, width = enlarged_size(pictures_PHWC.shape[1], pictures_PHWC.shape[2])
    enlarged = (enlarge(picture_HWC, height, width, "yuv420p") for picture_HWC in pictures_PHWC)
    write_film(path, enlarged, sound_2S, layout.fps, sample_rate=layout.sample_rate, height=height, width=width)


def write_film(
    path: Path,
    frames: Iterable[av.VideoFrame],
    sound_2S: NDArray[np.float32],
    fps: Fraction,
    *,
    sample_rate: int,
    height: int,
    width: int,
) -> None:
    """Write frames of even ``height`` and ``width`` with stereo sound as mp4; the file appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=Fraction(fps), options=VIDEO_OPTIONS)
        video.height, video.width, video.pix_fmt, video.thread_count = height, width, "yuv420p", 1
        audio = container.add_stream("aac", rate=sample_rate, layout="stereo")
        for frame in frames:
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(sound_2S, format="fltp", layout="stereo")
        sound.sample_rate, sound.pts = sample_rate, 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    partial.replace(path)


def film_seconds(path: Path) -> float:
    """How long a film is."""
    with av.open(str(path)) as container:
        return float((container.duration or 0) / av.time_base)


def enlarge(picture_HWC: NDArray[np.uint8], height: int, width: int, pixel_format: str) -> av.VideoFrame:
    """A picture as a video frame of another size."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), format="rgb24")
    return frame.reformat(width, height, pixel_format, interpolation="LANCZOS")


def side_by_side(left_PHWC: NDArray[np.uint8], right_PHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames next to each other with a light gap."""
    height = left_PHWC.shape[1]
    gap = max(1, round(GAP * height / HEIGHT))
    between = np.full((len(left_PHWC), height, gap, 3), 255, dtype=np.uint8)
    return np.concatenate([left_PHWC, between, right_PHWC], axis=2)


def enlarged_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the video, both even."""
    scale = max(1, round(HEIGHT / height))
    return height * scale + height * scale % 2, width * scale + width * scale % 2


def mix(left_S: NDArray[np.float32], right_S: NDArray[np.float32]) -> NDArray[np.float32]:
    """Two voices to stereo (2, S), each nearer to its own side."""
    num = min(len(left_S), len(right_S))
    left_S, right_S = left_S[:num], right_S[:num]
    return np.stack([NEAR * left_S + FAR * right_S, FAR * left_S + NEAR * right_S]).clip(-1, 1).astype(np.float32)
