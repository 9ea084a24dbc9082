"""Rows 32 and 33 of the fault table: files that claim to be weights and are an attack, or merely wrong."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from avatar_lab.checkpoint import Card, Checkpoint, load_checkpoint
from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.construct import build
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.level import Level
from avatar_lab.training.checkpointing import FORMAT, CheckpointStore
from avatar_lab.weight_file import read_weights
from tests.factory import tiny_model

CARD = Card(
    stage="self_forcing", sampler=Sampler(steps=(1.0, 0.3), renoise=1.0), audio_codec="a", video_codec="b",
    window_blocks=6,
)  # fmt: skip


class _Gadget:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (str(self.mark),)


def _plant(folder: Path, state: object) -> None:
    """A training checkpoint whose manifest fits its content, as an attacker would write it."""
    step = folder / "step_00000007"
    step.mkdir(parents=True)
    torch.save(state, step / "state.pt")
    raw = (step / "state.pt").read_bytes()
    files = {"state.pt": {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}}
    (step / "manifest.json").write_text(json.dumps({"format": FORMAT, "step": 7, "stage": "toy", "files": files}))


def test_row_32_pickle_gadget_is_refused_and_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    _plant(tmp_path / "gadget", {"stage": "toy", "train_step": 7, "roles": _Gadget(mark)})
    with pytest.raises(ValueError, match=r"weights_only.*nothing of it was run"):
        CheckpointStore(tmp_path / "gadget", keep=1).load_latest()
    assert not mark.exists()
    pickle.loads(pickle.dumps(_Gadget(mark)))
    assert mark.exists(), "the gadget works where pickles are trusted"


def test_row_32_names_inside_a_checkpoint_build_nothing(tmp_path: Path) -> None:
    """Hyperparameters are data: what they name is built only through the allow-list, and only from a config."""
    state = {
        "stage": "toy",
        "train_step": 7,
        "hyper_parameters": {"_instantiator": "os.system", "_target_": "os.mkdir", "_args_": [str(tmp_path / "x")]},
    }
    _plant(tmp_path / "names", state)
    loaded = CheckpointStore(tmp_path / "names", keep=1).load_latest()
    assert loaded == state
    assert not (tmp_path / "x").exists()
    with pytest.raises(ValueError, match=r"'os\.mkdir' is refused"):
        build(state["hyper_parameters"])


def _with_header(path: Path, header: bytes, data: bytes, *, announced: int | None = None) -> None:
    path.write_bytes(struct.pack("<Q", len(header) if announced is None else announced) + header + data)


def _overlapping(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    _with_header(path, json.dumps({"x": entry, "y": entry}).encode(), bytes(16))


def _beyond_the_end(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    _with_header(path, json.dumps({"x": entry}).encode(), bytes(16))


def _shape_and_offsets_differ(path: Path) -> None:
    _with_header(path, json.dumps({"x": {"dtype": "F32", "shape": [9], "data_offsets": [0, 16]}}).encode(), bytes(16))


def _header_of(size: int) -> Callable[[Path], None]:
    return lambda path: _with_header(path, b"{}", b"", announced=size)


def _broken_metadata(path: Path) -> None:
    save_file({"x": torch.zeros(1)}, path, metadata={"avatar_lab": "{no json"})


def _foreign_metadata(path: Path) -> None:
    save_file({"x": torch.zeros(1)}, path, metadata={"avatar_lab": '{"format": "avatar_lab.checkpoint/2"}'})


DAMAGES = {
    "huge header": _header_of(2**63),
    "header of 1 GB": _header_of(2**30),
    "overlapping offsets": _overlapping,
    "beyond the end": _beyond_the_end,
    "shape and offsets differ": _shape_and_offsets_differ,
    "deep header": lambda path: _with_header(path, b'{"x":' * 50_000, b""),
    "no text": lambda path: _with_header(path, bytes(range(128, 200)), b""),
    "empty": lambda path: path.write_bytes(b""),
    "broken metadata": _broken_metadata,
    "foreign metadata": _foreign_metadata,
}


@pytest.mark.parametrize("name", list(DAMAGES))
def test_row_33_hostile_safetensors(tmp_path: Path, name: str) -> None:
    """One sentence that names the file, from both readers, and no memory for what is only announced."""
    path = tmp_path / "x.safetensors"
    DAMAGES[name](path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (load_checkpoint, read_weights, TinyAudio.load):
        with pytest.raises(ValueError, match=r"x\.safetensors"):
            read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024  # kilobytes


@pytest.mark.parametrize("change", ["shape", "dtype", "missing", "unexpected", "no codebook"])
def test_row_33_tensors_that_do_not_fit_the_header(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.safetensors"
    Checkpoint(model=tiny_model(Level.LISTEN, dtype=torch.float32), card=CARD).save(path)
    with path.open("rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        metadata = json.loads(file.read(size))["__metadata__"]
    tensors = load_file(path)
    name = max(tensors, key=lambda key: tensors[key].numel() * (key != "net.codebook.tables_KVD"))
    if change == "shape":
        tensors[name] = tensors[name][..., :-1].contiguous()
    elif change == "dtype":
        tensors[name] = torch.zeros(tensors[name].shape, dtype=torch.int32)
    elif change == "missing":
        del tensors[name]
    elif change == "unexpected":
        tensors["net.more"] = torch.zeros(3)
    else:
        del tensors["net.codebook.tables_KVD"]
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ValueError, match=r"x\.safetensors does not fit its own header"):
        load_checkpoint(path)
