"""Damaged bytes of every kind of file that is read, through the readers that the preparation and training use.

Valid files are cut, flipped, overwritten, spliced, and given headers that announce too much. Whatever comes out is the
right data, a counted reason, or one clear error; never another exception, a hang, or data that is missing unsaid.
200 cases in the CI tier and 2,000 in the slow one (``-m slow``), the same ones each time; ``AVATAR_LAB_FUZZ_SEED=1``
draws others. ``-rP`` shows what became of them.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from avatar_lab.data.dataset import DyadData
from avatar_lab.data.schema import Interaction, from_members
from avatar_lab.data.shards import ShardReader
from avatar_lab.layout import Layout
from data_prep.blob import Blob
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.media.client import MediaClient, MediaLimits
from data_prep.notes import Notes
from data_prep.npz import read_arrays
from data_prep.sources.paired_files import PairedFiles
from data_prep.sources.seamless import Seamless, read_notes
from data_prep.sources.stereo_manifest import read_alignments
from data_prep.steps.events import load_notes
from tests.data.small_dataset import random_interaction, raw_members, write_dataset
from tests.data_prep.recordings import RATE, ramp, tones, write_video
from tests.data_prep.seamless_tree import features, notes, write_tar

CASES = {"tar": 40, "npz": 40, "json": 40, "shards": 30, "wav": 25, "mp4": 25}
"""Per kind in the CI tier, 200 together; ten times as many in the slow one."""
SEED = int(os.environ.get("AVATAR_LAB_FUZZ_SEED", "0"))
TIERS = [pytest.param(1, marks=pytest.mark.ci), pytest.param(10, marks=pytest.mark.slow)]
A, B = "V00_S0001_I0100_P0001", "V00_S0001_I0100_P0002"
LAYOUT = Layout()


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    """``valid`` after one to three damages, half of them near its beginning or end, where headers are."""
    raw = bytearray(valid)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        size = max(1, len(raw))
        near = st.integers(0, min(1023, size - 1))
        at = draw(st.one_of(near, near.map(lambda x, size=size: size - 1 - x), st.integers(0, size - 1)))
        kind = draw(st.sampled_from(["cut", "flip", "overwrite", "insert", "remove", "repeat", "announce", "digit"]))
        length = draw(st.sampled_from([1, 4, 16, 512, 4096]))
        if kind == "cut":
            del raw[at:]
        elif kind == "flip" and raw:
            raw[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "overwrite":
            raw[at : at + length] = draw(st.sampled_from([b"\0", b"\xff", b"\x7f"])) * len(raw[at : at + length])
        elif kind == "insert":
            raw[at:at] = draw(st.binary(min_size=1, max_size=64))
        elif kind == "remove":
            del raw[at : at + length]
        elif kind == "repeat":
            raw[at:at] = raw[at : at + length]
        elif kind == "announce":
            value = draw(st.sampled_from([2**31 - 1, 2**32 - 1, 2**30, 0]))
            raw[at : at + 4] = struct.pack(draw(st.sampled_from(["<I", ">I"])), value)
        elif kind == "digit":
            digits = [i for i, byte in enumerate(raw[at : at + 4096], start=at) if 48 <= byte <= 57]
            if digits:
                raw[draw(st.sampled_from(digits))] = draw(st.integers(48, 57))
    return bytes(raw)


def fuzz(kind: str, times: int, valid: bytes, check: Callable[[bytes], str]) -> Counter[str]:
    """Outcomes of ``check`` over the cases of ``kind``."""
    outcomes: Counter[str] = Counter()

    @seed(zlib.crc32(f"{SEED}/{kind}".encode()))
    @settings(
        max_examples=times * CASES[kind],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(valid))
    def run(raw: bytes) -> None:
        outcomes["unchanged" if raw == valid else check(raw)] += 1

    run()
    print(f"fuzz {kind}, seed {SEED}: {sum(outcomes.values())} cases: {dict(outcomes.most_common())}")
    assert sum(outcomes.values()) >= 0.9 * times * CASES[kind]
    return outcomes


def reason(attempt: Callable[[], Any]) -> tuple[Any, str | None]:
    """What ``attempt`` gives, or the reason it is skipped for; a hang is no reason here."""
    try:
        return attempt(), None
    except SkipRecording as caught:
        skip = caught
    assert skip.reason is not SkipReason.TIMEOUT, skip
    assert "\n" not in str(skip)
    return None, str(skip.reason)


def refusal(attempt: Callable[[], Any], *, names: str) -> str | None:
    """The sentence with which ``attempt`` refuses, which says where the damage is."""
    try:
        attempt()
    except ValueError as error:
        said = str(error)
    else:
        return None
    assert names in said
    assert "\n" not in said
    return said


@pytest.mark.parametrize("times", TIERS)
def test_tar(times: int, tmp_path: Path) -> None:
    """Through the listing of Seamless: a member that is not found is said, what is found can be read."""
    path = tmp_path / "release" / "improvised" / "train" / "0000" / "0000.tar"
    content = {f"{name}.{kind}": bytes(f"{name}.{kind}", "ascii") * 60 for name in (A, B) for kind in ("mp4", "wav")}
    write_tar(path, {name: {kind: content[f"{name}.{kind}"] for kind in ("mp4", "wav")} for name in (A, B)})

    def check(raw: bytes) -> str:
        path.write_bytes(raw)
        (tmp_path / "release" / ".avatar_lab_index.sqlite").unlink(missing_ok=True)
        source = Seamless(root=tmp_path / "release")
        found, rows = {}, list(source.recordings())
        for row in rows:
            for role, blob in row.files.items():
                with blob.open() as file:
                    read = file.read()
                assert len(read) == blob.stated_size() == blob.size, role
                found[blob.name] = read
        # a cut-out that leaves a whole archive shows as a partner or a stream that is not there, which is counted later
        absent = [row for row in rows if row.problem or len(row.files) < 4]
        said = sum(source.findings.values()) + len(absent) + (not rows)
        assert set(found) >= set(content) or said, "lost without a word"
        return "whole" if found == content else "said" if said else "other bytes in a member"

    outcomes = fuzz("tar", times, path.read_bytes(), check)
    assert outcomes["said"] > 0.3 * sum(outcomes.values())


@pytest.mark.parametrize("times", TIERS)
@pytest.mark.parametrize("compressed", [True, False])
def test_npz(times: int, tmp_path: Path, compressed: bool) -> None:
    """An array is the one that was written, or there is a reason; one that lost its name is no array of that name."""
    raw = features(40)
    with np.load(io.BytesIO(raw)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    if not compressed:
        target = io.BytesIO()
        np.savez(target, allow_pickle=False, **arrays)
        raw = target.getvalue()
    path = tmp_path / "x.npz"

    def check(raw: bytes) -> str:
        path.write_bytes(raw)
        found, why = reason(lambda: read_arrays(Blob.of(path), tuple(arrays)))
        if why is not None:
            assert why in ("bad_features", "too_large")
            return why
        for name, array in found.items():
            assert array.dtype == arrays[name].dtype
            np.testing.assert_array_equal(array, arrays[name])
        return "whole" if len(found) == len(arrays) else "fewer arrays"

    fuzz("npz", times, raw, check)


@pytest.mark.parametrize("times", TIERS)
def test_json(times: int, tmp_path: Path) -> None:
    """Transcripts of both sources and sidecars: finite, ordered times, or a reason."""
    words = {"alignments": [["so", [0.5, 1.0], "SPEAKER_MAIN"], ["um", None, "SPEAKER_MAIN"]]}
    sidecar = {"participants": {"a": "ann", "b": "bob"}, "split": "train", "group": "g1", "non_commercial": True}
    valid = json.dumps(notes(A, [(0.5, 4.0), (4.6, 6.0)]) | words | sidecar, indent=1).encode()
    path = tmp_path / "x.json"
    root = tmp_path / "in"
    root.mkdir()
    (root / "d0_speaker1.mp4").write_bytes(b"x")

    def check(raw: bytes) -> str:
        path.write_bytes(raw)
        outcome = []
        for read in (read_notes, lambda text: read_alignments(text, speakers=("SPEAKER_MAIN",))):
            said, why = reason(lambda read=read: load_notes(Notes(blob=Blob.of(path), read=read)))
            assert why in (None, "bad_features")
            for start, end in [] if said is None else [*(said.words or []), *(said.voice or [])]:
                assert np.isfinite([start, end]).all()
                assert start <= end
            outcome.append(why)
        (root / "d0.world.json").write_bytes(raw)
        outcome.append(refusal(lambda: list(PairedFiles(root=root).recordings()), names="d0.world.json"))
        return "read" if outcome == [None] * 3 else "refused" if None not in outcome else "refused by some"

    fuzz("json", times, valid, check)


def _same(left: Interaction, right: Interaction) -> bool:
    return raw_members(left) == raw_members(right)


@pytest.mark.parametrize("times", TIERS)
@pytest.mark.parametrize("name", ["index.parquet", "train-000000.tar", "dataset.json"])
def test_shards(times: int, tmp_path: Path, name: str) -> None:
    """Index, shard and description through the map-style reader: what it gives is what was written."""
    lengths = {"d0": 12.0, "d1": 11.0}
    write_dataset(tmp_path / "whole", lengths=lengths)
    shutil.copytree(tmp_path / "whole", tmp_path / "hurt")
    wanted = {key: random_interaction(key, seconds=seconds, layout=LAYOUT) for key, seconds in lengths.items()}

    def check(raw: bytes) -> str:
        (tmp_path / "hurt" / name).write_bytes(raw)
        settings: dict = {"layout": LAYOUT, "batch_size": 1, "num_blocks": 4, "seed": 0}
        if refusal(lambda: DyadData(root=tmp_path / "hurt", **settings), names="") is not None:
            return "refused when opened"
        reader = ShardReader(tmp_path / "hurt")
        hurt = [key for key in wanted if refusal(lambda key=key: reader.interaction(key), names=name) is not None]
        assert all(_same(reader.interaction(key), wanted[key]) for key in set(wanted) - set(hurt))
        reader.close()
        return "refused when read" if hurt else "whole"

    CASES[name] = CASES["shards"] // 3
    fuzz(name, times, (tmp_path / "whole" / name).read_bytes(), check)


@pytest.mark.parametrize("times", TIERS)
def test_members_without_checksum(times: int) -> None:
    """As a stream gets them: a sample in the schema's shapes, or a ValueError that names what is wrong."""
    members = raw_members(random_interaction("d0", seconds=10.0, layout=LAYOUT))
    chosen = ["a.audio_tokens.npy", "b.script.npy", "events.parquet", "json"]
    valid = b"".join(struct.pack("<I", len(members[name])) + members[name] for name in chosen)

    def check(raw: bytes) -> str:
        parts = dict(members)
        for name in chosen:
            size = struct.unpack("<I", raw[:4].ljust(4, b"\0"))[0]
            parts[name], raw = raw[4 : 4 + size], raw[4 + size :]
        return "in shape" if refusal(lambda: from_members("d0", parts), names="d0") is None else "refused"

    CASES["members"] = CASES["npz"]
    fuzz("members", times, valid, check)


@pytest.fixture(scope="module")
def media() -> Iterator[MediaClient]:
    with MediaClient(MediaLimits(timeout=120.0, memory_bytes=3 << 30)) as client:
        yield client


@pytest.mark.parametrize("times", TIERS)
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_wav(times: int, tmp_path: Path, media: MediaClient, subtype: str) -> None:
    """Sound that is accepted is finite, and as long as the probe said it is."""
    path = tmp_path / "x.wav"
    soundfile.write(path, tones(0.5, [(0.1, 0.4)]), RATE, subtype)

    def check(raw: bytes) -> str:
        path.write_bytes(raw)
        probed, why = reason(lambda: media.probe(Blob.of(path)))
        if why is not None or probed[1] is None:
            return why or "no_audio"
        decoded, why = reason(lambda: list(media.audio(Blob.of(path), sample_rate=RATE)))
        if why is not None:
            return why
        wav = np.concatenate([piece for piece, _ in decoded])
        assert np.isfinite(wav).all()
        assert len(wav) / RATE == pytest.approx(probed[1].end - probed[1].start, abs=0.05, rel=0.05)
        return "read"

    CASES[subtype] = CASES["wav"] // 2
    fuzz(subtype, times, path.read_bytes(), check)


@pytest.mark.parametrize("times", TIERS)
@pytest.mark.parametrize("fragmented", [False, True])
def test_mp4(times: int, tmp_path: Path, media: MediaClient, fragmented: bool) -> None:
    """Every frame that was asked for comes, in the size that the probe said, or there is a reason."""
    path = tmp_path / "x.mp4"
    options = {"movflags": "frag_keyframe+empty_moov"} if fragmented else {}
    write_video(path, ramp(0.6), fps=Fraction(25), wav=tones(0.6, [(0.1, 0.5)]), container_options=options)

    def check(raw: bytes) -> str:
        path.write_bytes(raw)
        probed, why = reason(lambda: media.probe(Blob.of(path)))
        if why is not None or probed[0] is None or not len(probed[0].pts_P):
            return why or "no_video"
        wanted = np.arange(len(probed[0].pts_P))
        pieces, why = reason(lambda: list(media.frames(Blob.of(path), wanted, probed[0], chunk=8)))
        if why is not None:
            return why
        assert sum(map(len, pieces)) == len(wanted)
        assert {piece.shape[1:] for piece in pieces} == {(probed[0].height, probed[0].width, 3)}
        assert np.isfinite(probed[0].pts_P).all()
        return "read"

    CASES[f"mp4 {fragmented}"] = CASES["mp4"] // 2
    fuzz(f"mp4 {fragmented}", times, path.read_bytes(), check)
