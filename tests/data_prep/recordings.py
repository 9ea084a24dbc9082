"""Writes small recordings with known content: tone bursts at known times, frames whose colour tells their time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

RATE = 24_000
FPS = 25
Span = tuple[float, float]


def tones(seconds: float, spans: list[Span], *, sample_rate: int = RATE, frequency: float = 180.0) -> np.ndarray:
    """Silence with tone bursts."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    inside = np.zeros(len(time), bool)
    for start, end in spans:
        inside |= (time >= start) & (time < end)
    return (0.2 * np.sin(2 * np.pi * frequency * time) * inside).astype(np.float32)


def ramp(seconds: float, *, fps: float = FPS, size: int = 32, offset: int = 0) -> np.ndarray:
    """Grey frames (P, size, size, 3) whose level grows by 10 per second."""
    level = offset + 10 * np.arange(round(seconds * fps)) / fps
    return np.broadcast_to(level[:, None, None, None], (len(level), size, size, 3)).astype(np.uint8)


def write_video(
    path: Path,
    frames: np.ndarray,
    *,
    fps: Fraction | int = FPS,
    pts: list[int] | None = None,
    time_base: Fraction | None = None,
    wav: np.ndarray | None = None,
    container_options: dict[str, str] | None = None,
) -> None:
    """mp4; ``pts`` in units of ``time_base`` makes a variable frame rate."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        video = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "10", "preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        if time_base is not None:
            video.codec_context.time_base = time_base
        if wav is not None:
            audio = container.add_stream("aac", rate=RATE, layout="mono")
            sound = av.AudioFrame.from_ndarray(wav[None], format="fltp", layout="mono")
            sound.sample_rate, sound.pts = RATE, 0
            container.mux([*audio.encode(sound), *audio.encode(None)])
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[index], time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


def write_pair(
    folder: Path,
    interaction: str,
    *,
    seconds: float = 12.0,
    speech_a: list[Span] | None = None,
    speech_b: list[Span] | None = None,
    size: int = 32,
) -> None:
    """One whole recording in the default naming."""
    folder.mkdir(parents=True, exist_ok=True)
    spans = (
        [(0.5, 4.0), (4.6, 6.0)] if speech_a is None else speech_a,
        [(2.5, 3.0), (6.4, 10.0)] if speech_b is None else speech_b,
    )
    for number, spoken in enumerate(spans, start=1):
        write_video(folder / f"{interaction}_speaker{number}.mp4", ramp(seconds, size=size, offset=20 * number))
        soundfile.write(folder / f"{interaction}_speaker{number}.wav", tones(seconds, spoken), RATE, "PCM_16")
