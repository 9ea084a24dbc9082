"""Pairs from command to checkpoint: made once, shared out, never mixed, and learned from by the same stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avatar_lab.config import RunConfig, load
from avatar_lab.data.pairs import StoredPairs, pairs_file, write_pairs
from avatar_lab.make_pairs import make
from avatar_lab.run_folder import write_artefacts
from avatar_lab.train import build_stage, run, shared_objects
from tests.data.small_dataset import write_shipped_codecs_dataset

SMALL = ["model.width=32", "model.num_heads=2", "model.num_layers=1", "cluster.machine.accelerator=cpu"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the shipped codecs, and an autoregressive model that never learned."""
    root = tmp_path_factory.mktemp("graph")
    write_shipped_codecs_dataset(root / "shards", lengths={"d0": 30.0, "d1": 24.0})
    for name in ("teacher", "autoregressive"):
        making = load([f"experiment=quickstart/{name}", f"root={root}", *SMALL])
        stage = build_stage(making, shared_objects(making))
        write_artefacts(root / name, stage.export(stage.roles))
    return root


def config(root: Path, experiment: str, *overrides: str) -> RunConfig:
    return load([f"experiment=ablation/{experiment}", f"root={root}", "data.batch_size=2", *SMALL, *overrides])


@pytest.mark.ci
def test_pairs_are_made_once_by_several_jobs_and_then_learned_from(root: Path) -> None:
    making = config(root, "trajectory", "data.num_blocks=3")
    folder = root / "pairs"
    first = make(making, folder, windows=5, part=0, parts=2)
    assert first == [pairs_file(folder, 0), pairs_file(folder, 2)]
    before = [path.stat().st_mtime_ns for path in first]
    assert make(making, folder, windows=5, part=1, parts=2) == [pairs_file(folder, 1)]
    assert len(make(making, folder, windows=5)) == 3
    assert [path.stat().st_mtime_ns for path in first] == before, "what is there is not made again"

    stored = StoredPairs(root=folder, batch_size=4)
    assert len(stored.dataset) == 6
    one, two = stored.loader(1, 0), stored.loader(0, 2)
    next(two)
    batch, same = next(one), next(two)
    assert all(torch.equal(batch[name], same[name]) for name in batch), "the order knows no workers"
    assert torch.equal(batch["video_BFHWC"][2:], next(stored.loader(0, 0))["video_BFHWC"][:2]), "and starts again"

    learning = config(root, "pairs", "training.steps=2", f"out={root}/learned", "training.checkpoint_minutes=60")
    assert run(learning) == 0
    assert (root / "learned" / "initialise.safetensors").exists()
    assert '"licences": ["CC0-1.0"]' in (root / "learned" / "starts.jsonl").read_text()


def test_pairs_of_different_makers_do_not_mix(root: Path, tmp_path: Path) -> None:
    making = config(root, "trajectory", "data.num_blocks=3")
    make(making, tmp_path, windows=2)
    with pytest.raises(ValueError, match="made by another model or with other settings"):
        make(config(root, "trajectory", "data.num_blocks=3", "seed=1"), tmp_path, windows=2)
    write_pairs(pairs_file(tmp_path, 7), {"video_BFHWC": torch.zeros(2, 1)}, maker={"teacher": "another"})
    with pytest.raises(ValueError, match="use one folder for each"):
        StoredPairs(root=tmp_path, batch_size=2)


def test_what_cannot_be_made_or_read_is_said(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pairs below"):
        StoredPairs(root=tmp_path, batch_size=2)
    with pytest.raises(ValueError, match="pairs are for stage initialise"):
        make(load(["experiment=quickstart/autoregressive", f"root={root}", *SMALL]), tmp_path, windows=2)
    with pytest.raises(ValueError, match="part 2 of 2"):
        make(config(root, "trajectory"), tmp_path, windows=2, part=2, parts=2)
    make(config(root, "trajectory", "data.num_blocks=3"), tmp_path, windows=2)
    path = pairs_file(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is damaged"):
        StoredPairs(root=tmp_path, batch_size=2)
