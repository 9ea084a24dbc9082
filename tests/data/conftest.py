"""A small data set shared by the tests of the reader; tests that damage it copy it first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.data.small_dataset import write_dataset

LENGTHS = {"d0": 30.0, "d1": 24.0, "d2": 41.0, "d3": 12.5, "short": 4.0}


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards")
    write_dataset(root, lengths=LENGTHS)
    return root


@pytest.fixture
def own_dataset(dataset: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return Path(shutil.copytree(dataset, tmp_path / "shards"))
