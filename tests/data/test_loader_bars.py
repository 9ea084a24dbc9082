"""What the loader may cost, with the recorded benchmark's own measurements (experiments/benchmark_loader.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar_lab.config import load
from avatar_lab.data.dataset import DyadData
from avatar_lab.layout import Layout
from avatar_lab.run_folder import write_artefacts
from avatar_lab.train import build_stage, shared_objects
from experiments.benchmark_loader import BATCH, BLOCKS, enlarged, first_batch, plain_webdataset, rate, training_step
from tests.data.small_dataset import TINY_CODECS, write_dataset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quickstart's folder: shards of the tiny codecs' shapes, and a teacher that learned nothing."""
    root = tmp_path_factory.mktemp("quickstart")
    write_dataset(root / "shards", lengths={f"d{number}": 60.0 for number in range(8)}, shapes=TINY_CODECS)
    config = load(["experiment=quickstart/teacher", f"root={root}"])
    stage = build_stage(config, shared_objects(config))
    write_artefacts(Path(config.out), stage.export(stage.roles))
    return root


@pytest.mark.ci
def test_first_batch_of_a_hundred_thousand_interactions_comes_within_two_seconds(root: Path, tmp_path: Path) -> None:
    """In processor time of a fresh process, without imports: other work on the machine does not count."""
    enlarged(root / "shards", tmp_path, rows=100_000, seed=0)
    runs = [first_batch(tmp_path, workers=0)["first_batch_processor"] for _ in range(3)]
    assert min(runs) < 2.0, runs


@pytest.mark.ci
def test_loader_gives_twenty_times_what_the_tiny_step_consumes(root: Path) -> None:
    data = DyadData(root=root / "shards", layout=Layout(), batch_size=BATCH, num_blocks=BLOCKS, seed=0)
    consumed = training_step(root, data, steps=2, seed=0)
    for cache_bytes in (2 << 30, 0):
        settings = {"batch_size": BATCH, "num_blocks": BLOCKS, "seed": 0, "cache_bytes": cache_bytes}
        loader = DyadData(root=root / "shards", layout=Layout(), **settings).loader(0, 0)
        given = rate(loader, count=20)
        assert given > 20 * consumed, (given, consumed)


@pytest.mark.ci
def test_the_benchmarks_plain_stream_cuts_the_same_windows(root: Path) -> None:
    """What is compared with must do the same work."""
    data = DyadData(root=root / "shards", layout=Layout(), batch_size=BATCH, num_blocks=BLOCKS, seed=0)
    stream = plain_webdataset(root / "shards", data.layout, windows=4, seed=0)
    shapes = [[tuple(t.shape) for t in _tensors(batch)] for batch in (next(stream), data.batch(0))]
    assert shapes[0] == shapes[1]


def _tensors(batch: object) -> list:
    found: list = []
    batch.apply(lambda tensor: found.append(tensor) or tensor)  # type: ignore[attr-defined, func-returns-value]
    return found
