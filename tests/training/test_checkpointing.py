"""A killed, cut or damaged save never hurts: the newest complete checkpoint loads."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from avatar_lab.layout import Layout
from avatar_lab.training.callbacks import WARNING_VARIABLE
from avatar_lab.training.checkpointing import CheckpointStore
from avatar_lab.training.metrics_log import MetricsLog, read_rows
from avatar_lab.training.module import StageModule
from avatar_lab.training.optimizer import AdamW
from avatar_lab.training.randomness import generator_states, restore_generator_states, seed_global_generators
from avatar_lab.training.update_guard import UpdateGuard
from tests.training.test_guard import train
from tests.training.toy import ToyStage


def state(step: int) -> dict[str, object]:
    return {"stage": "toy", "train_step": step, "weights": torch.full((100,), float(step))}


def test_newest_is_loaded_and_old_ones_go(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "c", keep=2)
    assert store.load_latest() is None
    for step in (1, 2, 3):
        store.save(state(step), step=step)
    assert [path.name for path in store.complete()] == ["step_00000002", "step_00000003"]
    assert (tmp_path / "c" / "latest").read_text() == "step_00000003"
    loaded = store.load_latest()
    assert loaded is not None
    assert torch.equal(loaded["weights"], torch.full((100,), 3.0))


@pytest.mark.parametrize("name", ["state.pt", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "gone"])
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: str, name: str) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    store.save(state(1), step=1)
    path = store.save(state(2), step=2) / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes({"cut": content[:-1], "empty": b"", "flip": content}[damage])
    loaded = store.load_latest()
    assert loaded is not None
    assert loaded["train_step"] == 1
    assert path.parent.exists(), "who only reads a run changes nothing in it"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"format"', b"\xff\xfe", b'{"files": {}}', b'{"files": {"state.pt": 3}}']
)
def test_a_manifest_that_says_nothing_is_damaged(tmp_path: Path, content: bytes) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    store.save(state(1), step=1)
    (store.save(state(2), step=2) / "manifest.json").write_bytes(content)
    found = store.newest_intact()
    assert found is not None
    assert found.name == "step_00000001"
    assert store.newest_format() == store.format


def test_resuming_behind_a_damaged_one_puts_it_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else it would stay the newest, and pruning would delete the intact ones before it."""
    train(tmp_path, ToyStage(), steps=2)
    train(tmp_path, ToyStage(), steps=4)
    store = CheckpointStore(tmp_path / "checkpoints", keep=1)
    assert store.latest_step() == 4
    (store.folder / "step_00000004" / "state.pt").write_bytes(b"cut")
    assert train(tmp_path, ToyStage(), steps=3, keep_checkpoints=1).steps_done == 3
    assert [path.name for path in store.complete()] == ["step_00000003"]
    assert (store.latest_step(), (store.folder / "latest").read_text()) == (3, "step_00000003")
    (aside,) = store.folder.glob("damaged_step_00000004_*")
    assert (aside / "state.pt").read_bytes() == b"cut"
    assert f"step_00000004 is damaged and now called {aside.name}" in caplog.text


def test_restored_state_does_not_lie_in_the_file(tmp_path: Path) -> None:
    """Which may be pruned, or go with its server, while the run goes on."""
    train(tmp_path, ToyStage(), steps=2)
    adamw = AdamW(lr=1e-2)
    module = StageModule(
        stage=ToyStage(),
        optimizers={"student": adamw, "critic": adamw},
        layout=Layout(),
        seed=0,
        total_steps=2,
        ema_decay=0.9,
        guard=UpdateGuard(max_skipped_steps=1, folder=tmp_path),
    )
    module.configure_optimizers()
    read = CheckpointStore(tmp_path / "checkpoints", keep=1).load_latest()
    assert read is not None
    in_file = {tensor.data_ptr() for tensor in tensors_of(read)}
    assert len(in_file) > 20
    assert "state.pt" in Path("/proc/self/maps").read_text()
    module.load_training_state(read)
    assert not in_file & {tensor.data_ptr() for tensor in tensors_of(module.training_state())}
    del read
    assert "state.pt" not in Path("/proc/self/maps").read_text(), "a file that is held keeps its room on the disk"


def tensors_of(value: Any) -> Iterator[torch.Tensor]:
    """All that are not empty, nested in dicts and lists."""
    if isinstance(value, torch.Tensor) and value.numel():
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from tensors_of(each)


def test_all_damaged_is_an_error(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    (store.save(state(1), step=1) / "state.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"all 1 checkpoints .* are damaged"):
        store.load_latest()


def test_weights_of_an_older_format_are_refused(tmp_path: Path) -> None:
    """Heads trained without the codebook's likelihood would be read as if trained with it."""
    store = CheckpointStore(tmp_path, keep=2)
    manifest = store.save(state(1), step=1) / "manifest.json"
    plain = json.loads(manifest.read_text())
    del plain["format"]
    manifest.write_text(json.dumps(plain))
    with pytest.raises(ValueError, match=r"older format.*start anew"):
        store.load_latest()


def test_a_process_killed_while_saving_leaves_the_one_before(tmp_path: Path) -> None:
    """The child dies after the state was written but before the folder gets its name."""
    program = (
        "import os, pathlib, sys, torch\n"
        "from avatar_lab.training import checkpointing\n"
        "store = checkpointing.CheckpointStore(pathlib.Path(sys.argv[1]), keep=2)\n"
        "store.save({'stage': 'toy', 'train_step': 1}, step=1)\n"
        "checkpointing.write_atomically = lambda *a: os._exit(9)\n"
        "store.save({'stage': 'toy', 'train_step': 2}, step=2)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=120)
    assert done.returncode == 9
    store = CheckpointStore(tmp_path, keep=2)
    assert any(path.name.startswith(".step_00000002") for path in tmp_path.iterdir())
    loaded = store.load_latest()
    assert loaded is not None
    assert loaded["train_step"] == 1


def test_saving_the_same_step_again_replaces_it(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    store.save(state(5), step=5)
    store.save(state(5) | {"more": 1}, step=5)
    loaded = store.load_latest()
    assert loaded is not None
    assert loaded["more"] == 1


def slow(act: Any, seconds: float) -> Any:
    """``act``, and later by so much."""

    def slowed(*args: Any, **kwargs: Any) -> Any:
        time.sleep(seconds)
        return act(*args, **kwargs)

    return slowed


@pytest.mark.parametrize(("warning", "said"), [("2", 1), ("600", 0), (None, 0)])
def test_a_stop_that_may_not_end_before_the_time_limit_is_said_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    warning: str | None,
    said: int,
) -> None:
    """Neither the save nor the step is half of the warning by itself."""
    monkeypatch.delenv(WARNING_VARIABLE, raising=False)
    if warning is not None:
        monkeypatch.setenv(WARNING_VARIABLE, warning)
    monkeypatch.setattr(CheckpointStore, "save", slow(CheckpointStore.save, 0.6))
    monkeypatch.setattr(ToyStage, "turns", slow(ToyStage.turns, 0.6))
    train(tmp_path, ToyStage(), steps=3, checkpoint_minutes=0.0)
    texts = [record.getMessage() for record in caplog.records if "TIMEOUT" in record.getMessage()]
    assert len(texts) == said
    assert all("half of the 2 s" in text and text.endswith("cluster.warning_seconds=60") for text in texts)


def test_measured_files_are_not_read_again_but_must_be_there(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    temporary = store.begin(1)
    (temporary / "part").write_bytes(b"four")
    entry = {"bytes": 4, "sha256": "as another rank says"}
    manifest = json.loads(
        (store.publish(temporary, state(1), step=1, measured={"part": entry}) / "manifest.json").read_text()
    )
    assert list(manifest["files"]) == ["part", "state.pt"]
    assert manifest["files"]["part"] == entry
    for measured in ({"gone": entry}, {"part": entry | {"bytes": 5}}):
        temporary = store.begin(2)
        (temporary / "part").write_bytes(b"four")
        with pytest.raises(OSError, match=r"gone|not as long as where it was written"):
            store.publish(temporary, state(2), step=2, measured=measured)
    assert store.latest_step() == 1


def test_foreign_objects_do_not_load(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    store.save({"stage": "toy", "path": Path("x")}, step=1)
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        store.load_latest()


def test_log_rewinds_to_the_checkpoint(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        log.write({"step": step, "seconds": 10.0 * step, "loss": float("nan") if step == 2 else 1.0})
    assert log.rewind(2) == 20.0
    rows = read_rows(log.path)
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[1]["loss"] is None


def test_a_line_cut_short_is_ignored_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st')
    assert read_rows(path) == [{"step": 1}]
    path.write_text('{"st\n{"step": 2}\n')
    with pytest.raises(ValueError, match="line 1"):
        read_rows(path)


def test_generator_states_survive_a_weights_only_file(tmp_path: Path) -> None:
    import random

    import numpy as np

    seed_global_generators(seed=1, step=2, rank=0)
    torch.save(generator_states(), tmp_path / "s.pt")
    drawn = (torch.randn(3).tolist(), np.random.rand(), random.random())  # noqa: NPY002
    restore_generator_states(torch.load(tmp_path / "s.pt", weights_only=True))
    assert drawn == (torch.randn(3).tolist(), np.random.rand(), random.random())  # noqa: NPY002
