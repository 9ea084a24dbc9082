"""Row 9: a disk that is full costs no checkpoint that was whole, and the error says what to do."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from avatar_lab.layout import Layout
from avatar_lab.training.checkpointing import CheckpointStore
from avatar_lab.training.fit import Fit, Machine
from avatar_lab.training.metrics_log import read_rows
from avatar_lab.training.optimizer import AdamW
from avatar_lab.training.sharded_state import NotWritten, ShardedStore
from tests.training.test_resume import toy_data
from tests.training.toy import ToyStage


def state(step: int, kilobytes: int) -> dict[str, object]:
    return {"stage": "toy", "train_step": step, "weights": torch.full((256 * kilobytes,), float(step))}


def loaded_step(store: CheckpointStore) -> int:
    """Nothing of what was loaded, which lies in the file, is left in the frame of a test: the disk could not go."""
    loaded = store.load_latest()
    assert loaded is not None
    return int(loaded["train_step"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs: run as root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_older_checkpoints_make_room(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = CheckpointStore(small_disk / "checkpoints", keep=5)
    for step in (1, 2, 3, 4):  # there is room for three
        store.save(state(step, 300), step=step)
    assert [path.name for path in store.complete()] == ["step_00000003", "step_00000004"]
    assert "older ones are deleted" in caplog.text
    assert loaded_step(store) == 4


def test_where_there_is_no_room_at_all_the_newest_stays(small_disk: Path) -> None:
    store = CheckpointStore(small_disk / "checkpoints", keep=5)
    for step in (1, 2):
        store.save(state(step, 300), step=step)
    with pytest.raises(OSError, match=r"step 3 cannot be written .* make room, .* it goes on from step 2"):
        store.save(state(3, 2000), step=3)
    assert [path.name for path in store.complete()] == ["step_00000002"]
    assert not list(store.folder.glob(".step_*")), "what was written in vain takes no room"
    assert loaded_step(store) == 2


def test_older_sharded_checkpoints_make_room(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ShardedStore(small_disk / "checkpoints", keep=5)
    for step in (1, 2, 3, 4):
        store.save_parts({"stage": "toy", "train_step": step}, {"w": torch.full((75_000,), float(step))}, step=step)
    assert [path.name for path in store.complete()] == ["step_00000003", "step_00000004"]
    assert "older ones are deleted" in caplog.text
    with pytest.raises(NotWritten, match=r"a rank could not .*free space.*goes on from step 4") as refused:
        store.save_parts({"stage": "toy", "train_step": 5}, {"w": torch.zeros(500_000)}, step=5)
    assert refused.value.full
    assert [path.name for path in store.complete()] == ["step_00000004"]


def test_a_run_on_a_full_disk_says_so_and_goes_on_where_there_is_room(small_disk: Path) -> None:
    """The log alone fills what is left, so its rows come before the checkpoint that finds no room."""
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - 60 * 1024))
    adamw = AdamW(lr=1e-3)
    fit = Fit(steps=200, optimizers={"student": adamw, "critic": adamw}, log_every_steps=1, checkpoint_minutes=1e-6)
    run = {"layout": Layout(), "out": small_disk, "seed": 0, "machine": Machine(accelerator="cpu")}
    with pytest.raises(OSError, match=r"cannot be written .* make room, .* goes on from step \d+"):
        fit.run(stage=ToyStage(), data=toy_data(), **run)
    (small_disk / "ballast").unlink()
    assert fit.run(stage=ToyStage(), data=toy_data(), **run).steps_done == 200
    assert [row["step"] for row in read_rows(small_disk / "metrics.jsonl")] == list(range(1, 201))


@pytest.mark.ci
def test_a_limit_on_files_says_the_same(tmp_path: Path) -> None:
    """Quotas need no mount: here the limit of this process on the size of a file."""
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.save(state(1, 10), step=1)
    program = (
        "import pathlib, resource, sys, torch\n"
        "from avatar_lab.training.checkpointing import CheckpointStore\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))\n"
        "state = {'stage': 'toy', 'train_step': 2, 'weights': torch.ones(100_000)}\n"
        "CheckpointStore(pathlib.Path(sys.argv[1]), keep=2).save(state, step=2)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(store.folder)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "OSError: the checkpoint of step 2 cannot be written" in done.stderr.splitlines()[-1]
    assert store.latest_step() == 1
