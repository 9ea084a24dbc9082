"""Runner, summary, bars and page on planted agents: what was planted comes out, and the page is complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from avatar_lab.evaluation import rows
from avatar_lab.evaluation.agents import AGENTS, FREE_AGENTS, MODEL_AGENTS, Agent
from avatar_lab.evaluation.bars import judge
from avatar_lab.evaluation.film import write_side_by_side
from avatar_lab.evaluation.intervention_rows import INTERVENTION_SCHEMA, interventions_df, write_interventions
from avatar_lab.evaluation.latency import summarise_latency
from avatar_lab.evaluation.media import Media
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.report import Report, gather, response_curves, write_summary
from avatar_lab.evaluation.report_html import write_html
from avatar_lab.evaluation.report_parts import interventions
from avatar_lab.evaluation.responses import curve_bins
from avatar_lab.evaluation.rows import Provenance, samples_df
from avatar_lab.evaluation.runner import run_agents
from avatar_lab.evaluation.summary import write_json
from tests.evaluation.planted import LAYOUT, PROBABILITY, PlantedStudio

DYADS = 10


def provenance(agent: Agent, config_sha: str = "a") -> Provenance:
    return Provenance(
        run_id="test",
        agent=agent.name,
        checkpoint=None,
        step=None,
        level=None,
        dataset="planted",
        split="test",
        seed=0,
        condition=agent.condition,
        code_sha="c",
        config_sha=config_sha,
        device="cpu",
    )


def measure(studio: PlantedStudio, out: Path, config_sha: str = "a") -> dict[str, float]:
    return run_agents(
        studio,
        list(AGENTS),
        out=out,
        provenance=lambda agent: provenance(agent, config_sha),
        batch_size=4,
        offline_dyads=2,
        workers=1,
        progress=lambda agent, done, total: None,
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluation")
    measure(PlantedStudio(num_dyads=DYADS, films=out / "films"), out)
    write_json(out / "latency.json", summarise_latency([0.05] * 97 + [0.2] * 3, LAYOUT))
    write_json(out / "reader.json", {"jaw": 0.97, "lean": None})
    clip = Media(video_PHWC=np.zeros((10, 8, 8, 3), np.uint8), audio_S=np.zeros(9600, np.float32))
    write_side_by_side(out / "films" / "d0-a.level3.mp4", clip, clip, LAYOUT)
    run = out / "runs" / "teacher"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("{}")
    rows = [{"step": step, "seconds": step * 0.1, "teacher/loss/video": 1 / (step + 1)} for step in range(50)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 51, "tea')
    return out


@pytest.fixture(scope="module")
def report(out: Path) -> Report:
    return gather(
        out,
        agents=AGENTS,
        runs=out / "runs",
        seconds={"teacher": 300.0},
        hardware={"cpu": "test"},
        commit="abc",
        setting="10 planted dyads",
        seed=0,
        fps=float(LAYOUT.fps),
    )


def test_planted_responses_come_out(report: Report) -> None:
    def value(agent: str, metric: str) -> float:
        found = report.cell(agent, metric).estimate.value
        assert found is not None
        return found

    assert value("level2", "nod_response") == pytest.approx(0.7, abs=0.12)
    assert value("level3", "smile_response") == pytest.approx(0.8, abs=0.1)
    assert value("level2", "smile_response") == 0
    assert value("level1", "nod_response") == 0
    assert value("oracle", "lip_sync_lag_ms") == pytest.approx(40, abs=5)
    assert value("oracle", "lip_sync_correlation") > 0.8
    assert report.cell("oracle", "nod_response").n > 50


def test_frozen_lip_sync_is_undefined_and_missing_agents_are_unavailable(report: Report, out: Path) -> None:
    assert report.cell("frozen", "lip_sync_correlation").estimate.value is None
    assert report.cell("teacher", "nod_response").estimate.value is None
    assert "not trained" in str(report.cell("teacher", "nod_response").reason)
    samples = samples_df(out / "rows")
    assert set(samples[samples.agent == "teacher"].status) == {"unavailable"}
    assert samples[samples.status != "ok"].value.isna().all()


def test_curves_are_of_the_judged_samples_and_rise_after_the_cue(out: Path) -> None:
    samples = samples_df(out / "rows")
    first = samples[samples.dyad_id.isin(["d0", "d1"])]
    whole, part = (response_curves(out, rows, AGENTS)["nod_response"] for rows in (samples, first))
    assert [curve.agent for curve in whole] == [agent for agent in AGENTS if agent in PROBABILITY]
    listener, partial = (next(c for c in curves if c.agent == "level2") for curves in (whole, part))
    assert partial.cues_D.sum() < listener.cues_D.sum()
    assert len(partial.cues_D) == 2
    excess_N, bins_N = listener.excess(), curve_bins()
    assert 0.4 <= bins_N[excess_N.argmax()] <= 1.2
    assert abs(excess_N[bins_N < -0.5]).max() < 0.3 * excess_N.max()


def test_bars_follow_the_numbers(report: Report) -> None:
    verdicts = {(verdict.agent, verdict.metric): verdict for verdict in report.verdicts}
    assert verdicts["level2", "nod_response"].passed
    assert verdicts["level3", "smile_response"].passed
    assert verdicts["level1", "nod_response"].passed
    assert verdicts["level3", "lip_sync_lag_ms"].passed
    assert verdicts["level3", "block_p95_ms"].passed
    assert verdicts["teacher", "blink_response"].passed is None
    cells = {(cell.agent, cell.metric): cell for cell in report.cells}
    swapped = cells | {("level1", "nod_response"): cells["oracle", "nod_response"]}
    assert {(v.agent, v.metric): v.passed for v in judge(swapped, None)}["level1", "nod_response"] is False
    deaf = cells | {("level2", "nod_response"): cells["yoked", "nod_response"]}
    assert {(v.agent, v.metric): v.passed for v in judge(deaf, None)}["level2", "nod_response"] is False


def test_summary_has_the_agreed_format(report: Report, tmp_path: Path) -> None:
    write_summary(report, tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) == {"metrics", "latency", "seconds", "hardware", "commit"}
    for row in summary["metrics"]:
        assert set(row) == {"agent", "metric", "value", "ci_low", "ci_high", "n", "unit"}
        if row["value"] is not None:
            assert row["ci_low"] <= row["value"] <= row["ci_high"]
    pairs = {(row["agent"], row["metric"]) for row in summary["metrics"]}
    required = "lip_sync_correlation lip_sync_lag_ms nod_response backchannel_response smile_response blink_response"
    agents = "level1 level2 level3 level3_camera_off teacher oracle delayed_oracle yoked frozen"
    assert {(agent, metric) for agent in agents.split() for metric in required.split()} <= pairs
    assert summary["latency"]["block_p95_ms"] == pytest.approx(50, abs=1)
    assert summary["latency"]["late_blocks"] == 3
    assert not any(isinstance(value, list) for value in summary["latency"].values())
    assert summary["seconds"] == {"teacher": 300.0}


def test_page_is_complete_and_needs_no_network(report: Report, tmp_path: Path) -> None:
    write_html(report, tmp_path / "index.html", seed=0)
    page = (tmp_path / "index.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "<link" not in page
    assert "<script" not in page
    for agent in AGENTS.values():
        assert agent.title in page
    assert page.count("data:video/mp4;base64,") == 1
    assert page.count("<svg") == 6
    assert "conversation d0, avatar in the place of a" in page
    assert "jaw 0.970, lean undefined" in page
    assert "NaN" not in page


def test_equal_media_is_observed_once_and_done_agents_are_skipped(tmp_path: Path) -> None:
    studio = PlantedStudio(num_dyads=3, films=tmp_path)
    first = measure(studio, tmp_path)
    assert "level3_camera_off" in first
    assert not [asked for asked in studio.asked if asked[0] == "level3_camera_off"]
    before = (tmp_path / "rows" / "level2.parquet").read_bytes()
    again = PlantedStudio(num_dyads=3, films=tmp_path)
    assert measure(again, tmp_path) == {}
    assert again.asked == []
    measure(again, tmp_path, config_sha="b")
    assert len(again.asked) == len(studio.asked)
    after = samples_df(tmp_path / "rows")
    assert set(after.config_sha) == {"b"}
    (tmp_path / "once").mkdir()
    measure(PlantedStudio(num_dyads=3, films=tmp_path), tmp_path / "once")
    assert (tmp_path / "once" / "rows" / "level2.parquet").read_bytes() == before


def test_other_metrics_need_no_new_rollout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure(PlantedStudio(num_dyads=2, films=tmp_path), tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "observations").iterdir()}
    (tmp_path / "rows" / "oracle.parquet").unlink()
    monkeypatch.setattr(rows, "ROWS_VERSION", 99)
    again = PlantedStudio(num_dyads=2, films=tmp_path)
    measured = measure(again, tmp_path)
    assert {"oracle", "level2", "frozen"} <= set(measured)
    assert again.asked == []
    assert set(samples_df(tmp_path / "rows").rows_version) == {99}
    assert {path.name: path.read_bytes() for path in (tmp_path / "observations").iterdir()} == before


def test_model_agents_name_existing_levels() -> None:
    assert [agent.name for agent in MODEL_AGENTS] == ["level1", "level2", "level3", "level3_camera_off", "teacher"]
    assert [agent.name for agent in FREE_AGENTS] == ["level2_free", "level3_free"]
    assert list(AGENTS)[-4:] == ["oracle", "delayed_oracle", "yoked", "frozen"]


def test_agents_are_compared_on_equal_dyads(report: Report) -> None:
    pairs = {(pair.first, pair.second, pair.metric): pair.comparison for pair in report.pairs}
    smiles, nods = pairs["level2", "level3", "smile_response"], pairs["level1", "level2", "nod_response"]
    assert smiles.difference.value == pytest.approx(0.8, abs=0.1)
    assert smiles.improvement.value == 1
    assert nods.difference.low is not None
    assert nods.difference.low > 0.4
    assert not any("teacher" in pair for pair in pairs), "it was not trained"


def test_every_metric_is_in_the_page_with_its_reason(report: Report, tmp_path: Path) -> None:
    assert {(cell.agent, cell.metric) for cell in report.details} == {
        (agent, metric) for agent in report.agents for metric in METRICS
    }
    write_html(report, tmp_path / "index.html", seed=0)
    page = (tmp_path / "index.html").read_text()
    assert page.count("<tr><th title=") >= len(METRICS)
    assert "the script decides when the avatar speaks" in page
    recorded = next(c for c in report.details if (c.agent, c.metric) == ("oracle", "speaking_share"))
    assert recorded.estimate.value is not None, "people decided, in the recording"


def test_interventions_are_a_table(report: Report, tmp_path: Path) -> None:
    empty: dict[str, object] = dict.fromkeys(INTERVENTION_SCHEMA.names)
    asked = {"intervention": "A1", "question": "nod_rate", "expected": "decreases", "status": "ok", "units": 8}
    rows = [
        empty
        | asked
        | {"agent": "level2", "effect": -2.5, "ci_low": -3.0, "ci_high": -2.0, "passed": True, "gating": True},
        empty | asked | {"agent": "level3", "effect": 0.125, "passed": False, "gating": True},
        empty | asked | {"agent": "yoked", "effect": 0.0, "passed": False, "gating": False},
    ]
    write_interventions(tmp_path / "interventions.parquet", rows)
    found = interventions_df(tmp_path / "interventions.parquet")
    table = interventions(found, report.agents)
    assert "A1 nod rate<small>decreases" in table
    assert re.search(r"<td class='pass' [^>]*><b>-2.50</b><small>-3.00", table)
    assert re.search(r"<td class='fail' [^>]*><b>0.12</b></td>", table)
    assert re.search(r"<td class='' [^>]*><b>0.00</b></td>", table)
    assert interventions(None, report.agents) == ""
