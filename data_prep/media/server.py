"""The process that opens media files: decord for frames, PyAV for everything else and where decord fails.

Decoders hang and crash on odd files, and not every such call can be interrupted from Python; therefore this small
program runs beside each worker, with a limit on its memory, and is killed when it does not answer. It does not import
torch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np

from avatar_lab.serving import Answer, Operation, limit_process, serve
from data_prep.blob import Blob
from data_prep.manifest import SkipReason, SkipRecording

try:
    import decord
except (ImportError, OSError):  # no wheel for this platform
    decord = None


_FORMATS = "mov,matroska,avi,wav,w64,aiff,caf,flac,mp3,ogg,aac,mpegts,mpeg,asf,flv"
"""Containers that hold their own media. FFmpeg would also follow playlists (HLS, DASH, concat), whatever their name, to
other files and addresses."""
_PROTOCOLS = "file,subfile"
_PIECE = 1 << 20
"""Samples of sound that are sent at once."""


def probe(request: dict[str, Any]) -> Iterator[Answer]:
    """Facts about the first video and audio stream; payload: presentation times of all frames, float64 seconds."""
    blob, limits = request["blob"], request["limits"]
    _refuse_missing(blob)
    _refuse_short_riff(blob)
    facts: dict[str, Any] = {"video": None, "audio": None}
    pts = np.empty(0)
    with _opened(blob.url) as container:
        # The header is judged before any packet is read: a bomb costs nothing to refuse.
        if container.duration is not None and container.duration / av.time_base > limits["max_seconds"]:
            raise SkipRecording(
                SkipReason.TOO_LARGE,
                f"{container.duration / av.time_base:.0f} s > {limits['max_seconds']} s: raise "
                "limits.max_seconds, or cut the recording",
            )
        for stream in [*container.streams.video[:1], *container.streams.audio[:1]]:
            facts[stream.type] = _stream_facts(stream, limits)
        pts = _demux(container, facts, limits)
    yield {"facts": facts, "bytes": pts.nbytes}, pts.tobytes()


def header(request: dict[str, Any]) -> Iterator[Answer]:
    """Length and picture size as the container announces them; no packet is read for it."""
    blob = request["blob"]
    _refuse_missing(blob)
    with _opened(blob.url, probesize="65536", analyzeduration="1") as container:  # a wav file would be read far
        seconds = None if container.duration is None else container.duration / av.time_base
        facts: dict[str, Any] = {"seconds": seconds, "video": None}
        for stream in container.streams.video[:1]:
            size = {"width": stream.codec_context.width, "height": stream.codec_context.height}
            frames = stream.frames or round((seconds or 0.0) * float(stream.average_rate or 0))
            facts["video"] = size | {"frames": frames}
    yield {"facts": facts, "bytes": 0}, b""


def audio(request: dict[str, Any]) -> Iterator[Answer]:
    """The first audio stream (or one ``channel`` of it) as mono float32 at ``rate``, in pieces; ``start`` is the media
    time of its first sample."""
    blob, channel = request["blob"], request["channel"]
    with _opened(blob.url) as container:
        stream = container.streams.audio[0]
        if channel is not None and channel >= stream.codec_context.channels:
            detail = f"{blob.path} has {stream.codec_context.channels} channels, no channel {channel}"
            raise SkipRecording(SkipReason.NO_AUDIO, detail)
        layout = "mono" if channel is None else None
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=request["rate"])
        start: float | None = None
        parts: list[np.ndarray] = []
        held = sent = broken = 0
        for frame in chain(container.decode(stream), [None]):
            if start is None and frame is not None:
                start = float(frame.pts * frame.time_base) if frame.pts is not None else 0.0
            if frame is not None:
                frame.pts = None
            new = [out.to_ndarray()[channel or 0] for out in resampler.resample(frame)]
            parts += new
            held += sum(map(len, new))
            if held and (frame is None or held >= _PIECE):
                wav = np.ascontiguousarray(np.concatenate(parts), np.float32)
                parts, held, sent = [], 0, sent + held
                broken += int(np.count_nonzero(~np.isfinite(wav)))
                yield {"start": start, "bytes": wav.nbytes}, wav.tobytes()
    if not sent:
        raise SkipRecording(SkipReason.EMPTY, f"{blob.path} holds no audio samples")
    if broken:
        raise SkipRecording(SkipReason.UNREADABLE, f"{blob.path}: {broken} samples are no finite numbers")


def frames(request: dict[str, Any]) -> Iterator[Answer]:
    """RGB frames at the presentation indices (not decreasing) in the payload, in chunks of ``chunk`` frames."""
    wanted = np.frombuffer(request["payload"], np.int64)
    reader = _decord_frames if _decord_agrees(request) else _pyav_frames
    for chunk in reader(request["blob"].url, wanted, request["chunk"]):
        count, height, width, _ = chunk.shape
        header = {"frames": count, "height": height, "width": width, "bytes": chunk.nbytes}
        yield header, chunk.tobytes()


def _opened(url: str, **options: str) -> Any:
    return av.open(url, options={"format_whitelist": _FORMATS, "protocol_whitelist": _PROTOCOLS, **options})


def _refuse_missing(blob: Blob) -> None:
    if not blob.path.is_file():
        raise SkipRecording(SkipReason.UNREADABLE, f"{blob.path} does not exist")
    if blob.stated_size() == 0:
        raise SkipRecording(SkipReason.EMPTY, f"{blob.path} has 0 bytes")


def _refuse_short_riff(blob: Blob) -> None:
    """A wav file states its length; the demuxer silently believes the file size instead."""
    with blob.open() as file:
        head = file.read(8)
    size = blob.stated_size()
    stated = int.from_bytes(head[4:], "little") + len(head)
    endless = stated >= 2**32 - 1 or stated == len(head)  # written by a program that could not seek back
    if head[:4] == b"RIFF" and not endless and size < stated:
        detail = f"{blob.path} has {size} of the {stated} bytes announced"
        raise SkipRecording(SkipReason.TRUNCATED, detail)


def _stream_facts(stream: Any, limits: dict[str, Any]) -> dict[str, Any]:
    base = stream.time_base
    facts = {
        "codec": stream.codec_context.name,
        "start": float((stream.start_time or 0) * base),
        "header_seconds": None if stream.duration is None else float(stream.duration * base),
        "header_frames": stream.frames or None,
    }
    if stream.type == "audio":
        return facts | {"sample_rate": stream.codec_context.sample_rate, "channels": stream.codec_context.channels}
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits["max_pixels"]:
        raise SkipRecording(SkipReason.TOO_LARGE, f"{width} x {height} pixels > {limits['max_pixels']}")
    if (stream.frames or 0) > limits["max_frames"]:
        raise SkipRecording(SkipReason.TOO_LARGE, f"{stream.frames} frames > {limits['max_frames']}")
    return facts | {"width": width, "height": height, "fps": str(stream.average_rate or Fraction(0))}


def _demux(container: Any, facts: dict[str, Any], limits: dict[str, Any]) -> np.ndarray:
    """Read all packets without decoding: frame times, and where each stream really ends."""
    chosen = [*container.streams.video[:1], *container.streams.audio[:1]]
    times: list[float] = []
    ends: dict[str, float] = {}
    for packet in container.demux(chosen):
        if packet.pts is None or packet.size == 0:
            continue
        kind, time = packet.stream.type, float(packet.pts * packet.time_base)
        end = time + float((packet.duration or 0) * packet.time_base)
        ends[kind] = max(ends.get(kind, end), end)
        if packet.stream.type == "video":
            times.append(time)
            if len(times) > limits["max_frames"]:
                raise SkipRecording(SkipReason.TOO_LARGE, f"more than {limits['max_frames']} frames")
    for stream in chosen:
        facts[stream.type]["end"] = ends.get(stream.type)
    if facts["video"] is not None:
        facts["video"]["frames"] = len(times)
        width, height = facts["video"]["width"], facts["video"]["height"]
        if times and (width <= 0 or height <= 0):
            raise SkipRecording(SkipReason.UNREADABLE, f"pictures of {width} x {height} pixels cannot be decoded")
    return np.sort(np.asarray(times, np.float64))


def _decord_agrees(request: dict[str, Any]) -> bool:
    """Use decord only where it counts the same frames as the demuxer; it is known to return wrong ones otherwise."""
    if decord is None or request["backend"] == "pyav":
        return False
    try:
        reader = decord.VideoReader(request["blob"].url, num_threads=1)
        reader[0]  # there are picture sizes that it opens and then cannot convert
        return len(reader) == request["total"]
    except decord.DECORDError:
        return False


def _decord_frames(url: str, wanted: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
    reader = decord.VideoReader(url, num_threads=1)
    for start in range(0, len(wanted), chunk):
        distinct, inverse = np.unique(wanted[start : start + chunk], return_inverse=True)
        yield reader.get_batch(distinct).asnumpy()[inverse]


def _pyav_frames(url: str, wanted: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
    collected: list[np.ndarray] = []
    cursor = 0
    with _opened(url) as container:
        for index, frame in enumerate(container.decode(container.streams.video[0])):
            repeats = 0
            while cursor < len(wanted) and wanted[cursor] == index:
                repeats += 1
                cursor += 1
            if repeats:
                collected += [frame.to_ndarray(format="rgb24")] * repeats
            while len(collected) >= chunk:
                yield np.stack(collected[:chunk])
                collected = collected[chunk:]
            if cursor == len(wanted):
                break
    if cursor < len(wanted):
        raise SkipRecording(SkipReason.TRUNCATED, f"{url}: frame {wanted[cursor]} cannot be decoded")
    if collected:
        yield np.stack(collected)


def serve_media(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests until stdin closes."""

    def about_blob(operation: Operation) -> Operation:
        def answer(request: dict[str, Any]) -> Iterator[Answer]:
            where = request["blob"]
            return operation(request | {"blob": Blob(**where | {"path": Path(where["path"])})})

        return answer

    operations = {"probe": probe, "header": header, "audio": audio, "frames": frames}
    serve(
        {name: about_blob(operation) for name, operation in operations.items()},
        source,
        sink,
        faults=(av.error.FFmpegError,),
    )


if __name__ == "__main__":
    limit_process(int(sys.argv[1]))
    av.logging.set_level(av.logging.PANIC)
    if decord is not None:
        decord.logging.set_level(decord.logging.QUIET)
    serve_media(sys.stdin.buffer, sys.stdout.buffer)
