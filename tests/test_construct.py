"""Construction: arguments by name, shared objects by signature, and nothing outside the allow-list, ever."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from avatar_lab.construct import build, locate
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.training.optimizer import AdamW, Cosine

COSINE = {"_target_": "avatar_lab.training.optimizer.Cosine", "warmup_steps": 3}


def test_nested_objects() -> None:
    made = build({"_target_": "avatar_lab.training.optimizer.AdamW", "lr": 0.1, "schedule": COSINE})
    assert made == AdamW(lr=0.1, schedule=Cosine(warmup_steps=3))
    assert build({"plain": [1, COSINE]}) == {"plain": [1, Cosine(warmup_steps=3)]}


def test_positional_and_partial() -> None:
    assert build({"_target_": "avatar_lab.level.Level", "_args_": [3]}) is Level.SEE
    made = build({"_target_": "avatar_lab.training.optimizer.AdamW", "_partial_": True, "eps": 1.0})
    assert isinstance(made, partial)
    assert made(lr=2.0) == AdamW(lr=2.0, eps=1.0)


def test_shared_objects_reach_whoever_names_them_and_yaml_wins() -> None:
    utterances: dict[str, Any] = {"_target_": "avatar_lab.world.utterances.Utterances", "size": 2, "num_tokens": 3}
    node = {"_target_": "avatar_lab.data.map_batches.MapBatches", "batch_size": 1, "dataset": utterances}
    assert build(node, layout=Layout(), seed=5, unused=1).dataset.seed == 5
    assert build(utterances | {"seed": 7}, layout=Layout(), seed=5).seed == 7


@pytest.mark.parametrize("target", ["codec.tiny_audio.TinyAudio.load", "codec.mimi.Mimi.load", "layout.Layout"])
def test_classes_and_their_loaders_are_found(target: str) -> None:
    assert callable(locate(f"avatar_lab.{target}"))


def test_arguments_are_checked_before_the_call() -> None:
    with pytest.raises(ValueError, match=r"has no argument 'warmup' \(did you mean 'warmup_steps'\?\)"):
        build({"_target_": "avatar_lab.training.optimizer.Cosine", "warmup": 1})
    with pytest.raises(ValueError, match=r"needs \['lr'\]"):
        build({"_target_": "avatar_lab.training.optimizer.AdamW"})


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "distutils.spawn.spawn",
        "torch.hub.load",
        "torch.load",
        "builtins.eval",
        "avatar_lab_evil.module.run",
        "avatar_lab.training.checkpointing.shutil.rmtree",
        "avatar_lab.doctor.subprocess.run",
        "avatar_lab.doctor.os.system",
        "avatar_lab.doctor.imports",
        "avatar_lab.checkpoint.Checkpoint.save",
        "avatar_lab.training.checkpointing.write_atomically",
        "torch.optim.adamw.torch.load",
        "avatar_lab.layout.Layout.__init__.__globals__",
    ],
)
def test_foreign_targets_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"refused|has no|no module"):
        build({"deep": [{"inside": {"_target_": target, "_args_": ["true"]}}]})


def test_refused_before_anything_is_imported_or_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    good = {"_target_": "avatar_lab.no_such_module.Thing"}
    with pytest.raises(ValueError, match=r"evil_module\.run' is refused"):
        build([good, {"_target_": "evil_module.run"}])
    assert "evil_module" not in sys.modules


def test_misspelt_targets_get_a_hint() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'Layout'"):
        locate("avatar_lab.layout.Layuot")
    with pytest.raises(ValueError, match="no 'layuot'"):
        locate("avatar_lab.layuot.Layout")
