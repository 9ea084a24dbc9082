"""What notebooks read: events and rows as tables, sources, two agents compared, reactions beside the references."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avatar_lab.evaluation.estimates import estimate_metric
from avatar_lab.evaluation.intervention_rows import INTERVENTION_SCHEMA, write_interventions
from avatar_lab.evaluation.reading.comparison import compare, comparison_table, improvement_figure
from avatar_lab.evaluation.reading.latency import read_latency
from avatar_lab.evaluation.reading.level_table import level_table, measured_metrics, number
from avatar_lab.evaluation.reading.reactions import curves_figure, interventions_table, response_table
from avatar_lab.evaluation.reading.result import NOT_RECORDED, Result, facts, find_folder, machine, open_result
from avatar_lab.evaluation.rows import events_df
from avatar_lab.evaluation.sources import Source, read_sources, write_sources
from tests.evaluation.planted_result import write_result

DYADS = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_result(tmp_path_factory.mktemp("planted"), num_dyads=DYADS)


@pytest.fixture(scope="module")
def result(root: Path) -> Result:
    return open_result(root)


def test_events_of_all_agents_in_one_table(result: Result) -> None:
    events = result.events()
    assert events.columns[0] == "agent"
    nods = events[(events.agent == "level2") & (events.type == "nod")]
    assert set(nods.interaction) <= set(result.samples.sample_id)
    rate = result.of("level2").query("metric == 'nod_rate'").n.sum()
    assert len(nods) == rate > 50
    assert not len(events[events.agent == "level1"])


def test_events_that_are_not_there_or_are_of_another_version(tmp_path: Path, root: Path) -> None:
    with pytest.raises(ValueError, match=r"no \*.parquet events in .*; run `avatar-lab evaluate` first"):
        events_df(tmp_path)
    table = pq.read_table(root / "evaluation" / "events" / "level2.parquet")
    pq.write_table(table.drop_columns(["strength"]), tmp_path / "level2.parquet")
    with pytest.raises(ValueError, match=r"level2.parquet has columns .* remove its rows too and evaluate again"):
        events_df(tmp_path)


def test_a_result_is_found_from_below_and_says_what_is_missing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiments" / "notebooks").mkdir(parents=True)
    (tmp_path / "outputs").mkdir()
    shutil.copytree(root, tmp_path / "outputs" / "mine")
    monkeypatch.chdir(tmp_path / "experiments" / "notebooks")
    assert open_result("outputs/mine").folder == tmp_path / "outputs" / "mine" / "evaluation"
    assert open_result(root / "evaluation").folder == root / "evaluation"
    with pytest.raises(ValueError, match="correct `out` in the first cell"):
        find_folder("outputs/yours")
    with pytest.raises(ValueError, match="run `avatar-lab evaluate root=outputs` first"):
        open_result("outputs")
    found = open_result("outputs/mine")
    (found.folder / "latency.json").unlink()
    with pytest.raises(ValueError, match="evaluate with latency_seconds=40"):
        read_latency(found)
    shutil.rmtree(found.root / "report")
    with pytest.raises(ValueError, match="run `avatar-lab evaluate root="):
        machine(found)
    with pytest.raises(ValueError, match="has no agent 'level4'; it has "):
        found.of("level4")


def test_facts_name_what_rows_were_made_from_and_nothing_else(root: Path, tmp_path: Path) -> None:
    shown = facts(open_result(root))[""]
    assert shown["data hash"] == "d" * 12
    assert shown["checkpoint of Level 2 listen"] == f"{'c' * 12}, commit 0123456789ab"
    assert shown["data planted, split test"] == f"{DYADS} dyads"
    shutil.copytree(root, tmp_path / "older")
    folder = tmp_path / "older" / "evaluation"
    stale = Source(config_sha="b" * 16, data_sha="e" * 64, checkpoint_sha="f" * 64, lineage=(), commit="x")
    write_sources(folder, {"level2": stale})
    assert read_sources(folder)["level2"] == stale
    assert read_sources(folder)["level3"].lineage == ("teacher:1234",)
    shown = facts(open_result(tmp_path / "older"))[""]
    assert shown["checkpoint of Level 2 listen"] == NOT_RECORDED
    assert shown["data hash"] == "d" * 12
    (folder / "sources.json").unlink()
    assert facts(open_result(tmp_path / "older"))[""]["data hash"] == NOT_RECORDED


@pytest.mark.ci
def test_level_table_holds_the_estimates_or_why_there_are_none(result: Result) -> None:
    table = level_table(result)
    assert len(table) == len(measured_metrics(result)) > 40
    cell = estimate_metric(result.samples, agent="level2", metric="nod_response", seed=result.seed).estimate
    text = f"{cell.value:.2f} ({cell.low:.2f} ... {cell.high:.2f})"
    assert table["Level 2 listen"]["nod to pause [probability] ↑"] == text
    assert table["frozen"]["lip sync [r] ↑"] == "undefined"
    assert table["Level 2 listen"]["yields [probability] ↑"] == "given"
    assert set(table["teacher"]) == {"unavailable"}
    assert (number(-0.001, "r"), number(12.6, "ms")) == ("0.00", "13")


def test_planted_differences_come_out_and_equal_agents_are_equal(result: Result) -> None:
    found = {each.metric: each for each in compare(result, "level2", "level3")}
    smiles, nods = found["smile_response"], found["nod_response"]
    assert smiles.compared.difference.value == pytest.approx(0.8, abs=0.1)
    assert smiles.compared.improvement.value == 1
    assert smiles.p_adjusted < 0.5
    assert nods.compared.difference.low < 0.05
    assert nods.compared.difference.high > -0.05
    for each in found.values():
        assert each.compared.difference.value == pytest.approx(each.second.value - each.first.value, abs=1e-9)
    for each in compare(result, "level2", "level3_camera_off"):
        assert each.compared.difference.value == each.compared.difference.high == 0
        assert each.compared.improvement.value == 0.5
    table = comparison_table(list(found.values()), "level2", "level3")
    assert table["P(level3 better)"]["smile to smile [probability] ↑"] == "1.00"
    assert table["P(level3 better)"]["lip lag [ms]"] == ""
    assert "smile to smile" in improvement_figure(list(found.values()), "level3")


def test_agents_are_compared_where_both_were_judged(result: Result) -> None:
    few = result.samples[(result.samples.agent != "oracle") | result.samples.dyad_id.isin(["d0", "d1"])]
    part = Result(root=result.root, folder=result.folder, samples=few, agents=result.agents)
    (nods,) = compare(part, "level2", "oracle", ["nod_response"])
    assert nods.compared.difference.dyads == 2
    two = result.samples[result.samples.dyad_id.isin(["d0", "d1"])]
    assert nods.first.value == estimate_metric(two, agent="level2", metric="nod_response", seed=0).estimate.value
    with pytest.raises(ValueError, match="level2 and teacher share no sample"):
        compare(result, "level2", "teacher")


def test_reactions_beside_the_references(result: Result) -> None:
    table = response_table(result, "nod_response")
    assert table["P(after none)"]["Level 2 listen"] == "0.00"
    assert table["of the delayed oracle's"]["delayed oracle"] == "100 %"
    assert table["peak"]["Level 1 talk"] == ""
    assert 0.4 <= float(table["peak"]["oracle"].split()[0]) <= 1.2
    assert table["difference"]["teacher"] == "unavailable"
    figure = curves_figure(result, ["nod_response", "smile_response"])
    assert figure.startswith("<svg")
    assert figure._repr_svg_() == figure
    assert "smile to smile: models" in figure
    with pytest.raises(ValueError, match="nod_rate is no response"):
        curves_figure(result, ["nod_rate"])


def test_interventions_are_shown_by_letter_or_asked_for(root: Path, result: Result, tmp_path: Path) -> None:
    assert interventions_table(result, "A").iloc[0, 0] == "evaluate with interventions=[A1]"
    shutil.copytree(root, tmp_path / "asked")
    empty = dict.fromkeys(INTERVENTION_SCHEMA.names)
    rows = [
        empty
        | {
            "agent": agent,
            "intervention": name,
            "question": "nod_response",
            "expected": "decreases",
            "unit": "share",
        }
        | {"effect": -0.5, "ci_low": -0.6, "ci_high": -0.4, "p_adjusted": 0.0004, "passed": True, "status": "ok"}
        for agent, name in (("level2", "A1"), ("level3", "V1"))
    ]
    rows.append(empty | {"agent": "level1", "intervention": "A1", "status": "unavailable", "reason": "deaf"})
    write_interventions(tmp_path / "asked" / "evaluation" / "interventions.parquet", rows)
    table = interventions_table(open_result(tmp_path / "asked"), "A")
    assert table.agent.tolist() == ["Level 2 listen", "Level 1 talk"]
    assert table.effect.tolist() == ["-0.50 (-0.60 ... -0.40) share", "unavailable"]
    assert table["p (Holm)"].tolist() == ["< .001", ""]


def test_agents_of_one_evaluation_only_have_a_colour_and_a_place(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "more")
    rows = tmp_path / "more" / "evaluation" / "rows"
    for name, checkpoint, level in (("mine", "somewhere/mine.safetensors", 3), ("theirs", None, None)):
        frame = pq.read_table(rows / "level3.parquet").to_pandas()
        frame["agent"], frame["checkpoint"] = name, checkpoint
        frame["level"] = pd.array([level] * len(frame), dtype="Int64")
        schema = pq.read_schema(rows / "level3.parquet")
        pq.write_table(pa.Table.from_pandas(frame, schema=schema), rows / f"{name}.parquet")
    agents = open_result(tmp_path / "more").agents
    assert list(agents)[-6:-3] == ["mine", "theirs", "oracle"]
    assert len({agents[name].colour for name in ("mine", "theirs")}) == 2
    assert np.isclose(compare(open_result(tmp_path / "more"), "level3", "mine")[0].compared.difference.value or 0, 0)
