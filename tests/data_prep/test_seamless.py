"""The Seamless source finds the same conversations in tars, extracted folders and the S3 tree, traps included."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from avatar_lab.data.shards import ShardReader
from avatar_lab.layout import Layout
from data_prep.blob import Blob
from data_prep.manifest import Recording, SkipReason
from data_prep.prepare import prepare
from data_prep.sources.seamless import Seamless
from data_prep.sources.tar_members import DamagedArchive, TarIndex, list_members
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.seamless_tree import bundle, write_extracted, write_filelist, write_s3, write_tar

A, B = "V00_S0001_I0100_P0001A", "V00_S0001_I0100_P0002"
OTHER_VENDOR = ("V01_S0001_I0100_P0001", "V01_S0001_I0100_P0003")
LISTENING = [(2.5, 3.0), (6.4, 10.0)]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("bundles")
    return {file_id: bundle(folder, file_id, speech=LISTENING if file_id == B else None) for file_id in (A, B)}


@pytest.fixture
def fake(bundles: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    """Members for tests that only list."""
    return {"mp4": b"v", "wav": b"a"}


def tar(root: Path, number: int, *, label: str = "improvised", split: str = "train") -> Path:
    return root / label / split / "0000" / f"{number:04d}.tar"


def found(source: Seamless) -> dict[str, Recording]:
    return {recording.interaction: recording for recording in source.recordings()}


@pytest.mark.parametrize("layout", ["tars", "extracted", "s3"])
def test_every_layout_prepares_the_same(layout: str, bundles: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    root = tmp_path / "release"
    for number, file_id in enumerate((B, A)):
        one = {file_id: bundles[file_id]}
        if layout == "tars":
            write_tar(tar(root, number), one)
        elif layout == "extracted":
            write_extracted(tar(root, number).with_suffix(""), one)
        else:
            write_s3(root, "improvised", "train", one)
    info = prepare(
        source=Seamless(root=root),
        out=tmp_path / "shards",
        layout=Layout(),
        audio_codec=FakeAudio,
        video_codec=FakeVideo,
        splits={"train": 1.0},
        workers=0,
    )
    assert info.non_commercial
    assert info.licenses.keys() == {"CC-BY-NC-4.0"}
    interaction = ShardReader(tmp_path / "shards").interaction("V00_S0001_I0100")
    assert interaction.meta.participants == {"a": "V00_P0001A", "b": "V00_P0002"}
    assert interaction.meta.source_fps == {"a": "30000/1001", "b": "30000/1001"}
    assert interaction.meta.source_sample_rate == {"a": 48_000, "b": 48_000}
    loud = interaction.sides["b"].audio_tokens[:, 0] > 15
    heard = np.flatnonzero(loud) / 12.5
    assert abs(heard[0] - 2.5) < 0.2
    assert abs(heard[-1] - 10.0) < 0.2


def test_letters_and_vendors_tell_people_apart(fake: dict[str, bytes], tmp_path: Path) -> None:
    write_tar(tar(tmp_path, 0), {A: fake, OTHER_VENDOR[0]: fake})
    write_tar(tar(tmp_path, 1), {B: fake, OTHER_VENDOR[1]: fake})
    rows = found(Seamless(root=tmp_path))
    assert sorted(rows) == ["V00_S0001_I0100", "V01_S0001_I0100"]
    people = [side.participant for row in rows.values() for side in row.sides.values()]
    assert people == ["V00_P0001A", "V00_P0002", "V01_P0001", "V01_P0003"]
    assert all(row.problem is None for row in rows.values())
    assert sorted(found(Seamless(root=tmp_path, vendors=["01"]))) == ["V01_S0001_I0100"]


def test_a_partner_that_was_not_downloaded_is_named(fake: dict[str, bytes], tmp_path: Path) -> None:
    write_tar(tar(tmp_path, 0), {A: fake})
    write_filelist(tmp_path, [(A, "improvised", "train"), (B, "improvised", "train")])
    row = found(Seamless(root=tmp_path))["V00_S0001_I0100"]
    assert row.problem is not None
    assert row.problem[0] is SkipReason.NOT_ON_DISK
    assert B in row.problem[1]


def test_three_people_are_no_pair(fake: dict[str, bytes], tmp_path: Path) -> None:
    write_tar(tar(tmp_path, 0), {A: fake, B: fake, "V00_S0001_I0100_P0009": fake})
    row = found(Seamless(root=tmp_path))["V00_S0001_I0100"]
    assert row.problem is not None
    assert row.problem[0] is SkipReason.NOT_A_PAIR


def test_ids_repeated_in_another_split_are_taken_once(fake: dict[str, bytes], tmp_path: Path) -> None:
    write_tar(tar(tmp_path, 0), {A: fake, B: fake})
    write_tar(tar(tmp_path, 0, split="dev"), {A: {"mp4": b"v"}})
    source = Seamless(root=tmp_path, released_splits=True)
    row = found(source)["V00_S0001_I0100"]
    assert row.problem is None
    assert row.split == "train", "the place that has both sound and picture counts"
    assert source.findings["file repeated elsewhere in the release"] == 1


def test_names_are_never_paths(fake: dict[str, bytes], tmp_path: Path) -> None:
    write_tar(tar(tmp_path, 0), {f"../../{A}": fake, f"/etc/{B}": fake, "V00_S1_I1_P1AB": fake, "passwd": fake})
    source = Seamless(root=tmp_path)
    rows = found(source)
    assert list(rows) == ["V00_S0001_I0100"]
    for side in rows["V00_S0001_I0100"].sides.values():
        assert side.video is not None
        assert side.video.path == tar(tmp_path, 0)
    assert source.findings["file of another name"] == 4


@pytest.mark.parametrize("damage", ["cut", "zeroed header", "no end"])
def test_damaged_archives_are_reported_and_what_precedes_is_used(
    damage: str, fake: dict[str, bytes], tmp_path: Path
) -> None:
    path = tar(tmp_path, 0)
    big = {"mp4": b"v" * 3000, "wav": b"a" * 3000}
    write_tar(path, {A: big, B: big})
    raw = bytearray(path.read_bytes())
    if damage == "cut":
        raw = raw[: len(raw) // 2]
    elif damage == "no end":
        last = list_members(path)[-1]
        assert last.size is not None
        raw = raw[: last.offset + last.size]
    else:
        third = list_members(path)[2]
        raw[third.offset - 512 : third.offset] = bytes(512)
    path.write_bytes(raw)
    with pytest.raises(DamagedArchive):
        list_members(path)
    source = Seamless(root=tmp_path)
    row = found(source)["V00_S0001_I0100"]
    assert row.sides["a"].video is not None
    assert source.findings["damaged archive"] == 1


def test_listings_are_remembered_until_an_archive_changes(fake: dict[str, bytes], tmp_path: Path) -> None:
    path = tar(tmp_path, 0)
    write_tar(path, {A: fake})
    index = TarIndex(tmp_path / "index.sqlite")
    assert [len(members) for _, members, _ in index.members([path])] == [2]
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [len(members) for _, members, _ in index.members([path])] == [2], "not read again"
    write_tar(path, {A: fake, B: fake})
    assert [len(members) for _, members, _ in index.members([path])] == [4]
    index.close()


def test_a_member_reads_as_a_file(tmp_path: Path) -> None:
    path = tar(tmp_path, 0)
    write_tar(path, {A: {"mp4": b"0123456789", "wav": b"abc"}})
    blob = list_members(path)[0]
    with blob.open() as file:
        assert file.read() == b"0123456789"
        file.seek(-3, 2)
        assert file.read(2) == b"78"
    assert Blob.of(path).stated_size() == path.stat().st_size
