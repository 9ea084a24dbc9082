"""Faults of the fault table on the preparing side: each injected for real, with the result that is promised for it.

``test_bad_input.py`` has the plain damages of row 14; what is here are attacks, hangs, and deaths.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avatar_lab.data.shards import ShardReader
from avatar_lab.layout import Layout
from data_prep.blob import Blob
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.media.client import MediaClient, MediaLimits
from data_prep.prepare import prepare
from data_prep.sources.paired_files import PairedFiles
from data_prep.sources.seamless import Seamless
from data_prep.sources.tar_members import DamagedArchive, list_members
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import ramp, tones, write_pair, write_video

ROOT = Path(__file__).parents[2]
FILE_ID = "V00_S0001_I0100_P0001"


@pytest.fixture(scope="module")
def media() -> Iterator[MediaClient]:
    with MediaClient(MediaLimits(timeout=60.0)) as client:
        yield client


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    for name in ("d0", "d1", "d2"):
        write_pair(root, name, seconds=11.0)
    return root


def _prepare(recordings: Path, out: Path, **changes: object) -> None:
    settings: dict = {"audio_codec": FakeAudio, "video_codec": FakeVideo, "workers": 0, "splits": {"train": 1.0}}
    prepare(source=PairedFiles(root=recordings), out=out, layout=Layout(), **settings | changes)


def _refused(media: MediaClient, path: Path) -> SkipReason:
    with pytest.raises(SkipRecording) as caught:
        media.probe(Blob.of(path))
    return caught.value.reason


def test_row_14_one_frame_and_variable_rate(media: MediaClient, tmp_path: Path) -> None:
    """One frame beside 11 s of sound is no video of 11 s; a variable rate is no fault at all."""
    write_pair(tmp_path / "in", "d0", seconds=11.0)
    write_video(tmp_path / "in" / "d0_speaker1.mp4", ramp(1 / 25))
    with pytest.raises(ValueError, match="'mismatched_durations': 1"):
        _prepare(tmp_path / "in", tmp_path / "out")
    uneven = (np.cumsum(np.where(np.arange(275) % 2, 30, 50)) - 50).tolist()
    write_video(tmp_path / "in" / "d0_speaker1.mp4", ramp(11.0), pts=uneven, time_base=Fraction(1, 1000))
    _prepare(tmp_path / "in", tmp_path / "out")
    assert ShardReader(tmp_path / "out").interaction("d0").sides["a"].video_valid.all()


def _header_of(path: Path, codec: str, size: int) -> None:
    """A small valid video whose headers (container and every picture) announce ``size`` x ``size`` pixels."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb24"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    raw, at = bytearray(path.read_bytes()), -1
    while codec == "mjpeg" and (at := raw.find(b"\xff\xc0\x00\x11\x08", at + 1)) >= 0:
        raw[at + 5 : at + 9] = struct.pack(">HH", size, size)
    while codec == "png" and (at := raw.find(b"IHDR", at + 1)) >= 0:
        raw[at + 4 : at + 12] = struct.pack(">II", size, size)
        raw[at + 17 : at + 21] = struct.pack(">I", zlib.crc32(raw[at : at + 17]))
    entry = raw.rfind({"mjpeg": b"jpeg", "png": b"png "}[codec])
    assert entry > 0
    raw[entry + 28 : entry + 32] = struct.pack(">HH", size, size)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("codec", "size", "reason"),
    [
        ("mjpeg", 10_000, SkipReason.TOO_LARGE),
        ("png", 10_000, SkipReason.TOO_LARGE),
        ("mjpeg", 32_000, SkipReason.UNREADABLE),  # FFmpeg itself gives no size at all to so many pixels
    ],
)
def test_row_15_pixel_bomb(media: MediaClient, tmp_path: Path, codec: str, size: int, reason: SkipReason) -> None:
    path = tmp_path / "bomb.mov"
    _header_of(path, codec, size)
    assert _refused(media, path) is reason


def test_row_15_decoder_that_needs_too_much_memory_is_no_crash(tmp_path: Path) -> None:
    """Limits set too high by the user: then the memory of the decoding process is the limit, and this one survives."""
    path = tmp_path / "bomb.mov"
    _header_of(path, "png", 16_000)
    with MediaClient(MediaLimits(max_pixels=2**40, memory_bytes=1 << 30)) as client:
        video, _ = client.probe(Blob.of(path))
        assert video is not None
        with pytest.raises(SkipRecording) as caught:
            list(client.frames(Blob.of(path), np.arange(3), video, chunk=3))
        assert caught.value.reason in (SkipReason.TOO_LARGE, SkipReason.UNREADABLE, SkipReason.TRUNCATED)
        write_video(tmp_path / "good.mp4", ramp(1.0))
        assert client.probe(Blob.of(tmp_path / "good.mp4"))[0] is not None


def test_row_15_ten_hours(media: MediaClient, tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", ramp(2 / 25), pts=[0, 36_000_000], time_base=Fraction(1, 1000))
    assert _refused(media, tmp_path / "long.mp4") is SkipReason.TOO_LARGE


@pytest.mark.ci
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_row_15_a_million_frames(tmp_path: Path, extension: str) -> None:
    """mp4 announces them in its header, mkv does not: there the packets are counted up to the limit."""
    clip, path = tmp_path / "clip.mp4", tmp_path / f"many.{extension}"
    write_video(clip, ramp(2 / 25))
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        still = bytes([packet for packet in source.demux(video=0) if packet.size][-1])
        for index in range(1_000_000):
            packet = av.Packet(still)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 1000)
            target.mux(packet)
    with MediaClient(MediaLimits(max_frames=200_000)) as client:
        assert _refused(client, path) is SkipReason.TOO_LARGE


@pytest.mark.ci
@pytest.mark.parametrize(("hanging", "works"), [(1, True), (2, False)])
def test_row_16_decoder_hang(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hanging: int, works: bool
) -> None:
    """The decoder is killed and the recording tried once more; a second hang is counted."""
    real, asleep = subprocess.Popen, []

    def start(command: list[str], **options: object) -> subprocess.Popen:
        if len(asleep) < hanging:
            asleep.append(real([sys.executable, "-c", "import time; time.sleep(1e6)"], **options))  # type: ignore[call-overload]
            return asleep[-1]
        return real(command, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr("avatar_lab.served_process.subprocess.Popen", start)
    settings: dict = {"limits": MediaLimits(timeout=4.0), "max_skipped_share": 0.5}
    _prepare(recordings, tmp_path / "out", **settings)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["skipped_by_reason"] == ({} if works else {"timeout": 1})
    assert len(ShardReader(tmp_path / "out").keys("train")) == (3 if works else 2)
    assert all(process.poll() is not None for process in asleep)


@pytest.mark.ci
def test_row_18_killed_worker(recordings: Path, tmp_path: Path) -> None:
    """One sentence, a failing exit within 30 s, no process left, and the next call goes on."""
    program = (
        "import os, signal, sys, threading, time\n"
        "from multiprocessing import active_children\n"
        "from pathlib import Path\n"
        "from tests.data_prep.test_faults import _prepare\n"
        "def kill():\n"
        "    while not list(Path(sys.argv[2] + '.work').glob('probe/[!.]*')): time.sleep(0.01)\n"
        "    children = active_children()\n"
        "    print(*(child.pid for child in children), flush=True)\n"
        "    os.kill(children[0].pid, signal.SIGKILL); os.write(2, b'killed')\n"
        "    time.sleep(30); os._exit(99)\n"
        "if __name__ == '__main__':\n"
        "    threading.Thread(target=kill, daemon=True).start()\n"
        "    _prepare(Path(sys.argv[1]), Path(sys.argv[2]), workers=2)\n"
    )
    script, out = tmp_path / "run.py", tmp_path / "out"
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, str(script), str(recordings), str(out)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode not in (0, 99), done.stderr
    assert "a worker process was killed" in done.stderr
    assert not (out / "dataset.json").exists()
    deadline = time.monotonic() + 10
    while (
        left := [pid for pid in done.stdout.split() if Path(f"/proc/{pid}").exists()]
    ) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
    _prepare(recordings, out)
    assert ShardReader(out).keys("train") == ["d0", "d1", "d2"]


def _hostile(path: Path) -> None:
    """One good file among members that an extracting reader would fall for."""
    kinds = {
        f"../../{FILE_ID}.json": tarfile.REGTYPE,
        f"/etc/{FILE_ID}.npz": tarfile.REGTYPE,
        f"{FILE_ID}.mp4": tarfile.SYMTYPE,
        f"{FILE_ID}.wav": tarfile.LNKTYPE,
        "V00_S0001_I0100_P0002.mp4": tarfile.CHRTYPE,
        "V00_S0001_I0100_P0002.wav": tarfile.FIFOTYPE,
        "V00_S0001_I0100_P0003.mp4": tarfile.GNUTYPE_SPARSE,
        "sitecustomize.pth": tarfile.REGTYPE,
        "evil.pyd": tarfile.REGTYPE,
        f"{FILE_ID}.pkl": tarfile.REGTYPE,
        "V00_S0001_I0100_P0001.JSON": tarfile.DIRTYPE,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            content = b"import os" if kind == tarfile.REGTYPE else b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_row_34_hostile_tar(tmp_path: Path) -> None:
    path = tmp_path / "release" / "improvised" / "train" / "0000" / "0000.tar"
    _hostile(path)
    assert {blob.name for blob in list_members(path)} == {
        *(f"{FILE_ID}.json", f"{FILE_ID}.npz", f"{FILE_ID}.pkl", "sitecustomize.pth", "evil.pyd")
    }
    source = Seamless(root=tmp_path / "release")
    (row,) = source.recordings()
    assert source.findings["file of another name"] == 3
    assert set(row.files) == {"a.notes"}
    assert all(blob.path == path for blob in row.files.values())
    left = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()}
    assert left == {"release/improvised/train/0000/0000.tar", "release/.avatar_lab_index.sqlite"}


def test_row_34_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.sources.tar_members.MAX_MEMBERS", 1000)
    header = tarfile.TarInfo("x.wav").tobuf()
    (tmp_path / "many.tar").write_bytes(header * 1001 + bytes(10_240))
    with pytest.raises(DamagedArchive, match="more than 1000 members"):
        list_members(tmp_path / "many.tar")


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {target}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
}


@pytest.mark.parametrize("kind", list(PLAYLISTS))
@pytest.mark.parametrize("extension", ["mp4", "m3u8", "mkv", "wav"])
def test_row_35_playlists_are_not_followed(media: MediaClient, tmp_path: Path, kind: str, extension: str) -> None:
    """Neither to an address nor to another file, whatever the playlist is called."""
    write_video(tmp_path / "secret.mp4", ramp(1.0), wav=tones(1.0, [(0.1, 0.9)]))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        for target in (f"http://127.0.0.1:{server.getsockname()[1]}/x.ts", "secret.mp4"):
            path = tmp_path / f"list.{extension}"
            path.write_text(PLAYLISTS[kind].format(target=target))
            assert _refused(media, path) is SkipReason.UNREADABLE
        with pytest.raises(TimeoutError):
            server.accept()


def test_row_35_file_names_that_look_like_addresses(media: MediaClient, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Names are files below the source's folder, also where that is given relative to the working folder."""
    write_pair(tmp_path / "in", "d0", seconds=11.0)
    for path in sorted((tmp_path / "in").iterdir()):
        shutil.move(path, tmp_path / f"concat:{path.name}")
    monkeypatch.chdir(tmp_path)
    _prepare(Path("."), tmp_path / "out")
    assert ShardReader(tmp_path / "out").keys("train") == ["concat-d0"]
