"""The worker's end of ``server.py``: requests with a deadline, a fresh server after every kill.

P video frames   S samples
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from data_prep.blob import Blob
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.media.process import MediaProcess


@dataclass(frozen=True, kw_only=True)
class MediaLimits:
    """What a file's header may announce, and what reading it may cost."""

    max_pixels: int = 4096 * 2304
    max_frames: int = 2_000_000
    max_seconds: float = 4 * 3600.0
    """Of one file; memory hardly grows with it (README.md)."""
    memory_bytes: int = 8 << 30
    """Address space of the decoding process."""
    timeout: float = 60.0
    """Seconds to wait for one answer (a probe, a piece of sound, one chunk of frames)."""
    chunk_bytes: int = 96 << 20
    """Largest chunk of decoded frames held at once."""


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """A video stream as its packets say."""

    codec: str
    width: int
    height: int
    fps: Fraction
    pts_P: np.ndarray
    """Presentation time of every frame in seconds, sorted."""
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class AudioFacts:
    """An audio stream as its packets say."""

    codec: str
    sample_rate: int
    channels: int
    start: float
    end: float


class MediaClient(MediaProcess):
    """Owns one server process; a context manager.

    ``force_pyav`` leaves decord out, as on platforms without its wheel.
    """

    def __init__(self, limits: MediaLimits, *, force_pyav: bool = False) -> None:
        super().__init__(sys.executable, "data_prep.media.server", str(limits.memory_bytes), timeout=limits.timeout)
        self._limits = limits
        self._backend = "pyav" if force_pyav else "decord"

    def probe(self, blob: Blob) -> tuple[VideoFacts | None, AudioFacts | None]:
        """First video and audio stream of a file.

        Raises:
            SkipRecording: the file cannot be read, is larger than the limits, or ends before its header says.
        """
        header, payload = self._single({"op": "probe", "limits": asdict(self._limits)}, blob)
        video, audio = header["facts"]["video"], header["facts"]["audio"]
        for facts in (video, audio):
            if facts is not None:
                _refuse_truncated(facts, blob)
        return (
            None if video is None else _video_facts(video, np.frombuffer(payload, np.float64)),
            None if audio is None else _audio_facts(audio),
        )

    def header(self, blob: Blob) -> dict[str, Any]:
        """What the container's header says, without reading on: ``seconds`` (``None``: it does not say) and ``video``
        (``None`` or ``width``, ``height``, ``frames``); cheap, and as true as the header.

        Raises:
            SkipRecording: there is no header to be read.
        """
        header, _ = self._single({"op": "header"}, blob)
        return dict(header["facts"])

    def audio(self, blob: Blob, *, sample_rate: int, channel: int | None = None) -> Iterator[tuple[np.ndarray, float]]:
        """Mono waveform at ``sample_rate``, of one ``channel`` or of all mixed, in consecutive pieces (S,) float32,
        each with the media time of the very first sample."""
        for header, payload in self._ask_about({"op": "audio", "rate": sample_rate, "channel": channel}, blob):
            yield np.frombuffer(payload, np.float32), float(header["start"])

    def frames(self, blob: Blob, indices: np.ndarray, facts: VideoFacts, *, chunk: int) -> Iterator[np.ndarray]:
        """RGB frames (P, height, width, 3) uint8 at ``indices`` (not decreasing), ``chunk`` at a time.

        Fewer than ``chunk`` come at once only where they would not fit into ``limits.chunk_bytes``.
        """
        fitting = max(1, self._limits.chunk_bytes // (3 * facts.width * facts.height))
        request = {
            "op": "frames",
            "chunk": min(chunk, fitting),
            "total": len(facts.pts_P),
            "backend": self._backend,
        }
        for header, payload in self._ask_about(request, blob, indices.astype(np.int64).tobytes()):
            shape = (header["frames"], header["height"], header["width"], 3)
            yield np.frombuffer(payload, np.uint8).reshape(shape)

    def _single(self, request: dict[str, Any], blob: Blob) -> tuple[dict[str, Any], bytearray]:
        (answer,) = self._ask_about(request, blob)
        return answer

    def _ask_about(
        self, request: dict[str, Any], blob: Blob, payload: bytes = b""
    ) -> Iterator[tuple[dict[str, Any], bytearray]]:
        where = {"path": str(blob.path), "name": blob.name, "offset": blob.offset, "size": blob.size}
        return self.ask(request | {"blob": where}, about=blob.name, payload=payload)


def _refuse_truncated(facts: dict[str, Any], blob: Blob) -> None:
    """Compare what the header announces with what the packets hold."""
    announced, end, start = facts["header_seconds"], facts["end"], facts["start"]
    if end is None:
        return
    if announced is not None and end - start < announced - max(0.1, 0.02 * announced):
        detail = f"{blob.name}: {facts['codec']} ends after {end - start:.2f} s of the {announced:.2f} s announced"
        raise SkipRecording(SkipReason.TRUNCATED, detail)
    if (
        facts["header_frames"] is not None
        and facts.get("frames", facts["header_frames"]) < 0.98 * facts["header_frames"]
    ):
        detail = f"{blob.name}: {facts['frames']} of {facts['header_frames']} frames"
        raise SkipRecording(SkipReason.TRUNCATED, detail)


def _video_facts(facts: dict[str, Any], pts_P: np.ndarray) -> VideoFacts:
    fps = Fraction(facts["fps"])
    period = float(1 / fps) if fps else 0.0
    last = float(pts_P[-1]) + period if len(pts_P) else 0.0
    return VideoFacts(
        codec=facts["codec"],
        width=facts["width"],
        height=facts["height"],
        fps=fps,
        pts_P=pts_P,
        start=float(pts_P[0]) if len(pts_P) else 0.0,
        end=last,
    )


def _audio_facts(facts: dict[str, Any]) -> AudioFacts:
    return AudioFacts(
        codec=facts["codec"],
        sample_rate=facts["sample_rate"],
        channels=facts["channels"],
        start=facts["start"],
        end=facts["end"] if facts["end"] is not None else facts["start"],
    )
