"""The result table keeps its schema, and only 'ok' rows carry numbers."""

from pathlib import Path

import pandas as pd
import pytest

from avatar_lab.evaluation.rows import ROW_SCHEMA, Measurement, Provenance, Status, samples_df, write_rows

PROVENANCE = Provenance(
    run_id="r",
    agent="level2",
    checkpoint="level2.safetensors",
    step=10,
    level=2,
    dataset="world",
    split="test",
    seed=0,
    condition="scripted",
    code_sha="c",
    config_sha="d",
    device="cpu",
)


def test_round_trip(tmp_path: Path) -> None:
    good = Measurement(dyad_id="d0", sample_id="d0/a", metric="nod_response", value=0.25, n=8)
    undefined = Measurement(
        dyad_id="d1",
        sample_id="d1/a",
        metric="nod_response",
        value=None,
        n=0,
        status=Status.UNDEFINED,
        reason="no cues",
    )
    write_rows(tmp_path / "level2.parquet", [good, undefined], PROVENANCE)
    frame = samples_df(tmp_path)
    assert list(frame.columns) == ROW_SCHEMA.names
    assert frame.value[0] == 0.25
    assert pd.isna(frame.value[1])
    assert frame.status.tolist() == ["ok", "undefined"]
    assert frame.unit.tolist() == ["probability"] * 2
    assert frame.agent.tolist() == ["level2"] * 2
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("value", "status"), [(None, Status.OK), (0.5, Status.UNAVAILABLE), (0.1, Status.GIVEN), (float("nan"), Status.OK)]
)
def test_status_and_number_must_agree(value: float | None, status: Status) -> None:
    with pytest.raises(ValueError, match="nod_response"):
        Measurement(dyad_id="d", sample_id="s", metric="nod_response", value=value, n=1, status=status)


def test_unknown_metrics_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown metric"):
        Measurement(dyad_id="d", sample_id="s", metric="vibe", value=1.0, n=1)
    with pytest.raises(ValueError, match="avatar-lab evaluate"):
        samples_df(tmp_path)
