"""Published codecs are found on disk, told apart by their content, and refused in one sentence."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from avatar_lab.codec.mimi import Mimi
from avatar_lab.codec.pretrained import PretrainedFolder, library
from avatar_lab.codec.wan_vae import WanVae
from tests.codec.tiny_networks import mimi_folder, wan_folder


def plain_folder(folder: Path, *, weights: bytes = b"weights", **config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def fingerprint(folder: Path, **settings: object) -> str:
    return PretrainedFolder.find(folder, stem="model").fingerprint(**settings)


def test_fingerprint_follows_weights_configuration_and_settings_only(tmp_path: Path) -> None:
    base = fingerprint(plain_folder(tmp_path / "a", size=1), books=8)
    assert len(base) == 16
    assert fingerprint(plain_folder(tmp_path / "b", size=1, transformers_version="9"), books=8) == base
    assert fingerprint(plain_folder(tmp_path / "c", size=2), books=8) != base
    assert fingerprint(plain_folder(tmp_path / "d", size=1, weights=b"other"), books=8) != base
    assert fingerprint(tmp_path / "a", books=4) != base


def test_weights_in_several_files_all_count(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path)
    index = {"weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors", "z": "model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-1.safetensors").write_bytes(b"one")
    with pytest.raises(ValueError, match=r"lacks model-2\.safetensors: fetch the weights as safetensors"):
        PretrainedFolder.find(folder, stem="model")
    (folder / "model-2.safetensors").write_bytes(b"two")
    before = fingerprint(folder)
    (folder / "model-2.safetensors").write_bytes(b"changed")
    assert fingerprint(folder) != before


def test_folders_without_a_codec_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"give the folder with its config\.json"):
        PretrainedFolder.find(tmp_path, stem="model")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="holds no readable codec"):
        PretrainedFolder.find(tmp_path, stem="model")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ValueError, match="pickles are not read"):
        PretrainedFolder.find(tmp_path, stem="model")


def test_hub_ids_are_read_from_the_local_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "needs the extra: pip install 'avatar-lab[codecs]'"
    constants = pytest.importorskip("huggingface_hub.constants", reason=reason)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / "models--some--codec", "c" * 40
    for source in ("some/codec", "no valid id at all!"):
        with pytest.raises(ValueError, match=r"neither a folder nor in the local hub cache.*hf download"):
            PretrainedFolder.find(source, stem="model")
    plain_folder(repository / "snapshots" / commit / "vae", size=1)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    found = PretrainedFolder.find("some/codec", stem="model", subfolder="vae")
    assert found.config == {"size": 1}
    assert found.path.name == "vae"


def test_missing_and_old_libraries_name_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"needs no_such_library.*pip install 'avatar-lab\[codecs\]'"):
        library("no_such_library", at_least=(1, 0))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.9.3")
    assert library("json", at_least=(1, 9)) is json
    with pytest.raises(ValueError, match=r"needs json 1\.10 or newer, but 1\.9\.3 is installed; run: pip install"):
        library("json", at_least=(1, 10))


@pytest.mark.ci
def test_incomplete_or_damaged_weights_are_refused(tmp_path: Path) -> None:
    """Both libraries would fill gaps with random values and only warn."""
    mimi, wan = mimi_folder(tmp_path / "mimi"), wan_folder(tmp_path / "wan")
    for file, name in (
        (mimi / "model.safetensors", "downsample.conv.weight"),
        (wan / "diffusion_pytorch_model.safetensors", "quant_conv.weight"),
    ):
        tensors = load_file(file)
        complete = file.read_bytes()

        def load(file: Path = file) -> Mimi | WanVae:
            if file.parent == mimi:
                return Mimi.load(source=mimi, num_codebooks=4)
            return WanVae.load(source=wan, height=16, width=16)

        save_file({key: value for key, value in tensors.items() if key != name}, file, {"format": "pt"})
        with pytest.raises(ValueError, match=rf"{name} and 0 other tensors are missing or of another shape"):
            load()
        save_file(tensors | {name: torch.zeros(3)}, file, {"format": "pt"})
        with pytest.raises(ValueError, match=rf"{name} and 0 other tensors are missing or of another shape"):
            load()
        file.write_bytes(complete[: len(complete) // 2])
        with pytest.raises(ValueError, match=r"cannot be loaded .*: fetch it again"):
            load()
        file.write_bytes(complete)
        load()


@pytest.mark.ci
def test_loading_leaves_torch_s_constructors_alone(tmp_path: Path) -> None:
    """In a process of its own: what torch remembers, it remembers once."""
    code = """
import sys, torch
from avatar_lab.codec.mimi import Mimi
Mimi.load(source=sys.argv[1], num_codebooks=4)
with torch.device("meta"):
    assert torch.linspace(0, 1, 3).is_meta
"""
    command = [sys.executable, "-c", code, str(mimi_folder(tmp_path / "mimi"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
