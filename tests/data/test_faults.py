"""Faults of the fault table on the reading side: each injected for real, with the result that is promised for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from multiprocessing import active_children, get_context
from pathlib import Path

import pytest
import webdataset as wds

from avatar_lab.data.dataset import DyadData, _watched
from avatar_lab.data.schema import read_info
from avatar_lab.data.shards import ShardReader
from avatar_lab.data.streaming import DyadStream
from avatar_lab.layout import Layout
from avatar_lab.tensors import DyadBatch
from tests.data.conftest import LENGTHS
from tests.data.small_dataset import write_dataset

ROOT = Path(__file__).parents[2]


def _stream(root: Path, urls: list[str] | None = None) -> DyadStream:
    urls = [str(path) for path in sorted(root.glob("*.tar"))] if urls is None else urls
    return DyadStream(urls=urls, info=read_info(root), layout=Layout(), batch_size=2, num_blocks=4, seed=0)


def _data(root: Path) -> DyadData:
    return DyadData(root=root, layout=Layout(), batch_size=4, num_blocks=6, seed=1)


@pytest.mark.parametrize("where", ["in a member", "at a 512 boundary in a sample", "between samples", "no end marker"])
def test_row_11_truncated_shard(own_dataset: Path, where: str) -> None:
    """Both readers name the shard; neither passes a shorter one off as whole."""
    row = ShardReader(own_dataset).row("d1")  # the second sample of its shard
    path = own_dataset / row.shard
    first, last = row.members[0], row.members[-1]
    end = {
        "in a member": last.offset + last.size // 2,
        "at a 512 boundary in a sample": row.members[3].offset - 512,
        "between samples": first.offset - 512,
        "no end marker": last.offset + -(-last.size // 512) * 512,
    }[where]
    os.truncate(path, end)
    with pytest.raises(ValueError, match=rf"{row.shard} has {end} bytes instead of"):
        ShardReader(own_dataset)
    if where == "no end marker":  # nothing is lost
        assert len(list(_stream(own_dataset).interactions())) == len(LENGTHS)
    else:
        with pytest.raises(ValueError, match=rf"{row.shard}.*copy it again"):
            list(_stream(own_dataset).interactions())


def test_row_11_shard_that_shrinks_while_it_is_read(own_dataset: Path) -> None:
    reader = ShardReader(own_dataset)
    row = reader.row("d1")
    os.truncate(own_dataset / row.shard, row.members[-1].offset)
    reader.interaction("d0")
    with pytest.raises(ValueError, match=rf"{row.shard}: member d1\.json is damaged"):
        reader.interaction("d1")


@pytest.mark.parametrize("fill", [b"\xff", b"\0"])
def test_row_12_corrupt_header_in_mid_shard(own_dataset: Path, fill: bytes) -> None:
    """Plain webdataset stops as if the shard ended there; both readers say what is missing."""
    row = ShardReader(own_dataset).row("d1")
    path = own_dataset / row.shard
    raw = bytearray(path.read_bytes())
    header = row.members[1].offset - 512
    raw[header : header + 4096] = fill * 4096
    path.write_bytes(raw)
    plain = list(wds.WebDataset([str(path)], shardshuffle=False))
    assert len(plain) < 2 or len(plain[1]) < len(row.members)
    reader = ShardReader(own_dataset)
    assert reader.interaction("d0").key == "d0"
    with pytest.raises(ValueError, match=r"member d1\..* is damaged"):
        reader.interaction("d1")
    with pytest.raises(ValueError, match=row.shard):
        list(_stream(own_dataset).interactions())


def test_row_13_missing_swapped_duplicated_shard_and_stale_index(own_dataset: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in own_dataset.glob("*.tar"))
    urls = [str(own_dataset / name) for name in names]
    with pytest.raises(ValueError, match=rf"{names[0]}.*given twice"):
        _stream(own_dataset, [*urls, urls[0]])
    with pytest.raises(ValueError, match=r"train-000009\.tar.*no shards of this data set"):
        _stream(own_dataset, [*urls, str(own_dataset / "train-000009.tar")])
    renamed = tmp_path / "renamed"
    shutil.copytree(own_dataset, renamed)
    (renamed / names[1]).rename(renamed / "train-000009.tar")
    with pytest.raises(ValueError, match=rf"{names[1]} is missing"):
        ShardReader(renamed)
    other = tmp_path / "other"
    write_dataset(other, lengths=LENGTHS | {"d3": 13.0})
    shutil.copy(other / "index.parquet", own_dataset / "index.parquet")
    with pytest.raises(ValueError, match=r"does not belong to dataset\.json"):
        ShardReader(own_dataset)


def test_row_13_one_shard_in_place_of_another_of_equal_size(tmp_path: Path) -> None:
    write_dataset(tmp_path, lengths={"d0": 20.0, "d1": 20.0, "d2": 20.0, "d3": 20.0})
    first, second = tmp_path / "train-000000.tar", tmp_path / "train-000001.tar"
    assert first.stat().st_size == second.stat().st_size
    shutil.copy(second, first)
    with pytest.raises(ValueError, match=r"member d0\..* is damaged"):
        ShardReader(tmp_path).interaction("d0")
    with pytest.raises(ValueError, match=r"train-000000\.tar.*sha256 differs"):
        ShardReader(tmp_path).verify()


def test_row_13_shards_left_out_of_a_stream_are_said(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    _stream(dataset, [str(dataset / "train-000001.tar")])
    assert "2 of 3 shards are not given and never read" in caplog.text


def test_row_17_hung_worker_is_named_and_killed(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _data(dataset)
    wanted = {f"{data.reader.row(w.key).shard}/{w.key}" for w in data.windows(0, rank=0, world_size=1)}
    before = set(active_children())
    monkeypatch.setattr(data, "cut", lambda _: time.sleep(1e6))
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"no batch for step 0 .*timed out") as caught:
        next(data.loader(0, 2, timeout=1.0))
    assert time.monotonic() - started < 30
    assert all(name in str(caught.value) for name in wanted)
    for worker in set(active_children()) - before:
        worker.join(10)
    assert set(active_children()) <= before


@pytest.mark.ci
def test_row_18_killed_worker_ends_the_process_without_orphans(dataset: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from multiprocessing import active_children\n"
        "from tests.data.test_faults import _data\n"
        "batches = _data(Path(sys.argv[1])).loader(0, 2)\n"
        "next(batches)\n"
        "pids = sorted(child.pid for child in active_children())\n"
        "print(*pids, flush=True)\n"
        "os.kill(pids[0], signal.SIGKILL)\n"
        "for batch in batches: pass\n"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, str(dataset)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode not in (0, -signal.SIGKILL), done.stderr
    assert "killed by signal" in done.stderr
    assert time.monotonic() - started < 60  # start of the interpreter included
    assert not [pid for pid in done.stdout.split() if Path(f"/proc/{pid}").exists()]


def test_row_18_worker_killed_while_it_hands_over_a_batch() -> None:
    workers = {get_context("spawn").Process(target=time.sleep, args=(1e6,)) for _ in range(2)}
    for worker in workers:
        worker.start()

    def broken() -> Iterator[DyadBatch]:
        os.kill(min(worker.pid for worker in workers), signal.SIGKILL)
        raise ConnectionResetError("Connection reset by peer")
        yield

    with pytest.raises(RuntimeError, match=r"no batch for step 3 \(worker \d+ was killed by signal 9\); it holds x"):
        next(_watched(broken(), workers, 3, lambda step: "x"))
    assert not any(worker.is_alive() for worker in workers)


def test_row_35_addresses_within_the_instance(dataset: Path) -> None:
    for url in ("http://169.254.169.254/train-000000.tar", "file:///train-000000.tar", "pipe:cat", "-O/x.tar;id"):
        with pytest.raises(ValueError, match="is refused"):
            _stream(dataset, [url])


def test_healthy_loader_is_as_before(dataset: Path) -> None:
    data = _data(dataset)
    assert [b.sample_B.tolist() for b in islice(data.loader(3, 0), 2)] == [
        data.batch(step).sample_B.tolist() for step in (3, 4)
    ]
