"""A shard from elsewhere is data: nothing in it is run, written anywhere, or taken for a place on this machine."""

from __future__ import annotations

import ast
import io
import json
import os
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds

from avatar_lab.data.schema import (
    INDEX_NAME,
    INFO_NAME,
    ShardInfo,
    from_members,
    read_index,
    read_info,
    shard_name,
    write_index,
    write_info,
)
from avatar_lab.data.shards import ShardReader
from avatar_lab.data.streaming import DyadStream
from avatar_lab.layout import Layout
from data_prep.manifest import Recording
from data_prep.open_shard import OpenShard
from data_prep.sources.tar_members import list_members
from data_prep.splits import assign_splits
from tests.data.conftest import LENGTHS
from tests.data.small_dataset import random_interaction, raw_members

ROOT = Path(__file__).parents[2]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ELSEWHERE = ("../../etc/x", "/etc/x", "..", "a/b", "x.y", "")

_seen: list[tuple[str, Any]] | None = None


def _hook(event: str, arguments: Any) -> None:
    if _seen is not None:
        _seen.append((event, arguments))


sys.addaudithook(_hook)


@contextmanager
def audited() -> Iterator[list[tuple[str, Any]]]:
    """What the interpreter is asked to open, make, start or unpickle meanwhile."""
    global _seen
    _seen = []
    try:
        yield _seen
    finally:
        _seen = None


def _stream(root: Path, urls: list[str] | None = None) -> DyadStream:
    found = [str(path) for path in sorted(root.glob("*.tar"))] if urls is None else urls
    return DyadStream(urls=found, info=read_info(root), layout=Layout(), batch_size=2, num_blocks=5, seed=0)


def _read_everything(root: Path) -> int:
    reader = ShardReader(root)
    read = [reader.interaction(key).key for key in reader.keys("train")]
    read += [interaction.key for interaction in _stream(root).interactions()]
    for sample in wds.WebDataset([str(path) for path in sorted(root.glob("*.tar"))], shardshuffle=False):
        read.append(sample["__key__"])
    next(iter(_stream(root)))
    reader.close()
    return len(read)


def test_reading_writes_nothing_starts_nothing_and_unpickles_nothing(dataset: Path) -> None:
    _read_everything(dataset)  # what is imported late is imported now
    with audited() as seen:
        count = _read_everything(dataset)
    assert count == 3 * len(LENGTHS)
    opened = [arguments for event, arguments in seen if event == "open"]
    assert any(str(path).endswith(".tar") for path, _, _ in opened), "the audit sees nothing"
    written = [path for path, mode, flags in opened if flags & WRITING or set(str(mode)) & set("wax+")]
    assert written == []
    refused = ("os.mkdir", "os.rename", "os.link", "os.symlink", "subprocess.", "os.exec", "os.system", "pickle.")
    assert [event for event, _ in seen if event.startswith((*refused, "tempfile.", "shutil."))] == []


def test_the_audit_would_see_it(tmp_path: Path) -> None:
    with audited() as seen:
        np.save(tmp_path / "x.npy", np.asarray([Layout()], object), allow_pickle=True)
        np.load(tmp_path / "x.npy", allow_pickle=True)
    assert any(event == "pickle.find_class" for event, _ in seen)
    assert any(event == "open" and arguments[2] & WRITING for event, arguments in seen)


def test_members_are_plain_files_without_folders(dataset: Path) -> None:
    for path in dataset.glob("*.tar"):
        with tarfile.open(path) as archive:
            for member in archive:
                assert member.isreg()
                assert not set("/\\") & set(member.name)
                assert member.name.split(".")[0] in LENGTHS


@pytest.mark.parametrize("key", ELSEWHERE)
def test_keys_that_are_places_are_refused(key: str, dataset: Path, tmp_path: Path) -> None:
    made = random_interaction("d0", seconds=10.0, layout=Layout())
    with pytest.raises(ValueError, match="is no shard key"):
        from_members(key, raw_members(made))
    with pytest.raises(ValueError, match="is no shard key"):
        raw_members(replace(made, key=key))
    if key.startswith(("..", "/")) and key != "..":
        path = tmp_path / "train-000000.tar"
        with tarfile.open(path, "w") as archive:
            for name, raw in raw_members(made).items():
                info = tarfile.TarInfo(f"{key}.{name}")
                info.size = len(raw)
                archive.addfile(info, io.BytesIO(raw))
        with pytest.raises(ValueError, match="is no shard key"):
            list(_stream(dataset, [str(path)]).interactions())
        assert [path.name for path in tmp_path.iterdir()] == ["train-000000.tar"]


def test_names_in_archives_of_a_source_are_no_places(tmp_path: Path) -> None:
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("../../etc/passwd", "/etc/shadow", "in/a/folder.wav"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(name.encode()[-4:]))
        link = tarfile.TarInfo("link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    members = list_members(path)
    assert [member.name for member in members] == ["passwd", "shadow", "folder.wav"]
    assert {member.path for member in members} == {path}
    assert members[0].open().read() == b"sswd"


def test_shards_elsewhere_are_refused(own_dataset: Path) -> None:
    plain = json.loads((own_dataset / INFO_NAME).read_text())
    with pytest.raises(ValueError, match=r"shard name '\.\./x\.tar' is refused"):
        ShardInfo(name="../x.tar", size=1, sha256="", samples=1)
    rows = [replace(row, shard="../../etc/passwd") for row in read_index(own_dataset / INDEX_NAME)]
    write_info(
        own_dataset / INFO_NAME,
        replace(read_info(own_dataset), index_sha256=write_index(own_dataset / INDEX_NAME, rows)),
    )
    with pytest.raises(ValueError, match=r"points into \['\.\./\.\./etc/passwd'\], which dataset\.json does not list"):
        ShardReader(own_dataset)
    plain["shards"][0]["name"] = "/etc/passwd"
    (own_dataset / INFO_NAME).write_text(json.dumps(plain))
    with pytest.raises(ValueError, match="shard name '/etc/passwd' is refused"):
        ShardReader(own_dataset)


@pytest.mark.parametrize("split", ["../../etc", "a/b", "a b", "tr.ain", ""])
def test_splits_that_are_places_are_refused(split: str, tmp_path: Path) -> None:
    recording = Recording(interaction="x", source="", group="", sides={}, license="", non_commercial=False, split=split)
    for act in (
        lambda: assign_splits([recording], {"train": 1.0}),
        lambda: assign_splits([], {split: 1.0}),
        lambda: OpenShard(tmp_path, split, 0),
    ):
        with pytest.raises(ValueError, match="cannot be part of a file name"):
            act()
    assert list(tmp_path.iterdir()) == []
    assert shard_name("held-out_2", 7) == "held-out_2-000007.tar"


def _npy(array: np.ndarray, **header: Any) -> bytes:
    buffer = io.BytesIO()
    stated = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | header
    np.lib.format.write_array_header_1_0(buffer, stated)
    return buffer.getvalue() + array.tobytes()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (_npy(np.zeros(4, np.uint16), shape=(1 << 44, 8)), "announces 281474976710656 bytes, 8 are there"),
        (_npy(np.zeros(4, np.uint16), shape=(2, 1)), "announces 4 bytes, 8 are there"),
        (_npy(np.zeros(4, np.uint16), descr="|O"), "allow_pickle"),
        (_npy(np.zeros(4, np.uint16), descr=[("x", "|O")]), "allow_pickle"),
        (b"\x80\x04cos\nsystem\n.", "magic string"),
        (b"\x93NUMPY\x09\x00" + bytes(80), "npy format"),
        (b"", "magic string"),
    ],
)
def test_arrays_that_lie_or_hold_objects_are_refused(raw: bytes, message: str) -> None:
    members = raw_members(random_interaction("d0", seconds=10.0, layout=Layout()))
    with audited() as seen, pytest.raises(ValueError, match=message):
        from_members("d0", members | {"a.audio_tokens.npy": raw})
    assert not [event for event, _ in seen if event.startswith("pickle.")]


@pytest.mark.parametrize(
    "url",
    [
        *("-", "-rf", "--config=x.tar", "pipe:cat /etc/passwd", "pipe:x.tar", "PIPE:x.tar", "file:x.tar", "http://h/x.tar"),
        *("s3://$(id)/x.tar", "https://h/x.tar?a=`id`", "https://h/x y.tar", "https://-o/x.tar", "gs://h/{0..9}.tar"),
        *("https://h/x.tar\n", "::x.tar", "ais://h/x.tar", "hf://h/x.tar", "scp://h/x.tar", "x'y.tar", ""),
    ],
)  # fmt: skip
def test_addresses_beyond_the_list_are_refused(url: str, dataset: Path) -> None:
    with pytest.raises(ValueError, match="is refused"):
        _stream(dataset, [url])


@pytest.mark.parametrize("folder", ["x", "/a/..", "https://host.org/a", "s3://b/x=1", "gs://b"])
def test_plain_addresses_are_taken(folder: str, dataset: Path) -> None:
    _stream(dataset, [f"{folder}/train-000000.tar"])


FILES = sorted([*ROOT.glob("avatar_lab/**/*.py"), *ROOT.glob("data_prep/**/*.py")])
UNPICKLING = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
NUMPY = ("load", "read_array", "save", "savez", "write_array")


def test_no_source_unpickles() -> None:
    """Nobody imports an unpickler, and what could unpickle is told not to, in so many words."""
    calls = 0
    for path in FILES:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                fault = isinstance(node, ast.ImportFrom) and [alias.name for alias in node.names] == ["UnpicklingError"]
                assert fault or not UNPICKLING & {name.split(".")[0] for name in names}, path
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            said = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            owner, method = ast.unparse(node.func.value), node.func.attr
            if (owner, method) == ("torch", "load"):
                assert said.get("weights_only") is True, path
            elif owner.split(".")[0] in ("np", "numpy") and method in NUMPY:
                assert said.get("allow_pickle") is False, path
                calls += 1
            elif owner.startswith(("wds", "webdataset")):
                assert method != "decode", path
    assert calls >= 4, "the check sees none of the calls that are there"
