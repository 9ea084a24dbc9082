"""Conversations are selected by figures of the index; what is not known is neither good nor bad, and it is said what is
left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from avatar_lab.construct import build
from avatar_lab.data.dataset import DyadData
from avatar_lab.data.schema import INDEX_NAME, INFO_NAME, file_sha256, read_index, read_info, write_info
from avatar_lab.data.schema.index import LATER_COLUMNS, is_current
from avatar_lab.data.selection import SelectionRule
from avatar_lab.data.shards import ShardReader
from avatar_lab.layout import Layout
from tests.data.small_dataset import write_dataset

FIGURES: dict[str, dict[str, float | None]] = {
    "clean": {"a_isolation_db": 22.0, "b_isolation_db": 12.0, "lag_seconds": -0.02, "lag_confidence": 1.0},
    "leaky": {"a_isolation_db": 22.0, "b_isolation_db": 9.0, "lag_seconds": 0.0, "lag_confidence": 1.0},
    "half": {"a_isolation_db": None, "b_isolation_db": 0.0, "lag_seconds": -0.5, "lag_confidence": 0.4},
    "late": {"a_isolation_db": 20.0, "b_isolation_db": 20.0, "lag_seconds": -0.5, "lag_confidence": 1.0},
    "mute": {},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selection") / "shards"
    write_dataset(folder, lengths=dict.fromkeys(FIGURES, 20.0), figures=FIGURES)
    return folder


def _drawn(root: Path, rule: SelectionRule | None) -> set[str]:
    data = DyadData(root=root, layout=Layout(), batch_size=4, num_blocks=6, seed=0, selection=rule)
    assert set(data.keys("train")) == set(FIGURES), "evaluation sees all"
    return {window.key for step in range(40) for window in data.windows(step, rank=0, world_size=1)}


@pytest.mark.parametrize(
    ("rule", "left_out"),
    [
        (None, set()),
        (SelectionRule(), set()),
        (SelectionRule(min_isolation_db=12.0), {"leaky", "half"}),
        (SelectionRule(min_isolation_db=12.0, keep_unknown=False), {"leaky", "half", "mute"}),
        (SelectionRule(min_isolation_db=0.0, keep_unknown=False), {"half", "mute"}),
        (SelectionRule(max_lag_seconds=0.1), {"late"}),
        (SelectionRule(max_lag_seconds=0.1, keep_unknown=False), {"late", "half", "mute"}),
        (SelectionRule(max_lag_seconds=0.1, min_lag_confidence=0.3), {"late", "half"}),
        (SelectionRule(max_lag_seconds=0.0, min_isolation_db=10.0), {"clean", "leaky", "half", "late"}),
    ],
)
def test_windows_come_from_what_is_selected(root: Path, rule: SelectionRule | None, left_out: set[str]) -> None:
    assert _drawn(root, rule) == set(FIGURES) - left_out


def test_what_is_left_out_is_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    _drawn(root, SelectionRule(min_isolation_db=12.0))
    assert "2 of 5 interactions are left out by the selection: 2 for isolation below min_isolation_db" in caplog.text
    with pytest.raises(ValueError, match=r"leaves out all 5 interactions of split 'train': .*unknown isolation"):
        _drawn(root, SelectionRule(min_isolation_db=99.0, keep_unknown=False))
    with pytest.raises(ValueError, match="give the largest lag either way"):
        SelectionRule(max_lag_seconds=-0.1)


def test_the_shipped_configuration_selects_nothing() -> None:
    text = (Path(__file__).parents[2] / "configs" / "data" / "shards.yaml").read_text()
    assert build({"_target_": "avatar_lab.data.selection.SelectionRule"}) == SelectionRule()
    for name, value in vars(SelectionRule()).items():
        stated = "null" if value is None else str(value).lower()
        assert f"  {name}: {stated}" in text


def test_unknown_stays_unknown_on_disk(root: Path) -> None:
    rows = {row.key: row for row in read_index(root / INDEX_NAME)}
    for key, figures in FIGURES.items():
        for name in LATER_COLUMNS:
            assert getattr(rows[key], name) == figures.get(name)


def test_an_index_from_before_knows_nothing(root: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    write_dataset(older, lengths={"d0": 20.0, "d1": 20.0})
    pq.write_table(pq.read_table(older / INDEX_NAME).drop_columns(sorted(LATER_COLUMNS)), older / INDEX_NAME)
    info = replace(read_info(older), index_sha256=file_sha256(older / INDEX_NAME))
    write_info(older / INFO_NAME, info)
    assert (is_current(root / INDEX_NAME), is_current(older / INDEX_NAME)) == (True, False)
    row = ShardReader(older).row("d0")
    assert (row.lag_seconds, row.a_isolation_db) == (None, None)
    pq.write_table(pq.read_table(older / INDEX_NAME).drop_columns(["seconds"]), older / INDEX_NAME)
    with pytest.raises(ValueError, match="prepare the data again"):
        read_index(older / INDEX_NAME)
