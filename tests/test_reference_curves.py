"""Is a run healthy: bands over seeds and verdicts of experiments/reference_curves.py, on planted quickstarts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from avatar_lab.run_graph import load_graph
from experiments import reference_curves
from experiments.reference_curves import FAR, MARGIN, POINTS, STAGES, binned, main, read_log

STEPS = {"teacher": 400, "autoregressive": 750, "initialise": 25, "self_forcing": 60, "preference": 8}
STEPS |= {"see_teacher": 400, "see": 0}
Change = Callable[[str, dict[str, Any]], dict[str, Any]]


def unchanged(stage: str, row: dict[str, Any]) -> dict[str, Any]:
    return row


def planted_rows(stage: str, seed: int, steps: int) -> Iterator[dict[str, Any]]:
    """A row every ten steps and at the last, with a tenth of noise on a falling loss."""
    rng = np.random.default_rng([seed, STAGES.index(stage)])
    for step in sorted({*range(10, steps + 1, 10), steps} - {0}):
        row = {"step": step, "seconds": step / 2, "net/lr": 1 / step}
        row["net/loss/video"] = (0.2 + 5 / step) * rng.normal(1, 0.1)
        row["net/video/noise_0.25"] = (0.4 + 5 / step) * rng.normal(1, 0.1)
        row["net/grad_norm"] = rng.normal(1, 0.1)
        if stage == "self_forcing":
            row["critic/rollout/motion"] = rng.normal(1, 0.05)
            if step > 20:  # after the critic's warm-up
                row["student/loss/video"] = rng.normal(0.3, 0.03)
        yield row


def write_root(root: Path, *, seed: int, change: Change = unchanged, steps: dict[str, int] | None = None) -> Path:
    """The logs of a finished quickstart, and what its runs and its report say of themselves."""
    for stage, count in (steps or STEPS).items():
        run = root / stage
        run.mkdir(parents=True)
        rows = [change(stage, row) for row in planted_rows(stage, seed, count)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (run / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "training": {"steps": count}}))
        (run / "starts.jsonl").write_text(json.dumps({"commit": "abc"}) + "\n")
        (run / "done.json").write_text("{}")
    cells = {"nod_response": 0.5 + seed / 100, "lip_sync_lag_ms": None}
    metrics = [{"agent": "level2", "metric": name, "value": value} for name, value in cells.items()]
    (root / "report").mkdir()
    (root / "report" / "summary.json").write_text(json.dumps({"metrics": metrics, "hardware": {"cpu": "planted"}}))
    return root


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("seeds")
    return [write_root(folder / f"seed_{seed}", seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def reference(seeds: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "reference_curves.json"
    assert main(["--reference", str(path), "write", *map(str, seeds)]) == 0
    return path


def checked(reference: Path, root: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, str]]:
    """Exit code, and what is said by stage and by ``stage quantity``."""
    code = main(["--reference", str(reference), "check", str(root), *more])
    said = {}
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("  "):
            stage, quantity, text = line.split(maxsplit=2)
            said[f"{stage} {quantity}"] = text
        else:
            stage, text = line.split(": ", maxsplit=1)
            said[stage] = text
    return code, said


def test_stages_are_those_of_the_quickstart() -> None:
    assert set(STAGES) == set(load_graph("quickstart", []))


def test_reference_says_what_it_is_made_of(reference: Path) -> None:
    made = json.loads(reference.read_text())
    assert (made["seeds"], made["commits"], made["hardware"]) == ([0, 1, 2], ["abc"], [{"cpu": "planted"}])
    assert made["metrics"] == {"level2/nod_response": {"least": 0.5, "mean": 0.51, "most": 0.52}}
    assert made["stages"]["see"] == {"steps": 0, "ends": [], "curves": {}}
    found = made["stages"]["autoregressive"]
    assert found["ends"] == [30 * number for number in range(1, POINTS + 1)]
    assert set(found["curves"]) == {"net/loss/video", "net/video/noise_0.25", "net/grad_norm"}
    assert made["stages"]["self_forcing"]["curves"]["student/loss/video"]["least"][:2] == [None, None]
    values = [value for band in found["curves"].values() for part in band.values() for value in part]
    assert all(value == float(f"{value:.4g}") for value in values)


def test_bands_are_over_seeds_of_means_of_rows(reference: Path, seeds: list[Path]) -> None:
    found = json.loads(reference.read_text())["stages"]["autoregressive"]
    rows = [[json.loads(line) for line in (root / "autoregressive/metrics.jsonl").open()] for root in seeds]
    second = [np.mean([row["net/loss/video"] for row in log if 30 < row["step"] <= 60]) for log in rows]
    band = found["curves"]["net/loss/video"]
    for part, of in (("least", min), ("mean", np.mean), ("most", max)):
        assert band[part][1] == pytest.approx(of(second), rel=1e-3)


def test_picture_is_wide_enough_to_read(reference: Path) -> None:
    header = reference.with_suffix(".png").read_bytes()[:24]
    assert int.from_bytes(header[16:20], "big") == 1600


def test_a_reference_run_and_another_seed_are_as_the_reference(
    reference: Path, seeds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = checked(reference, seeds[1], capsys)
    assert code == 0
    assert said["teacher"] == said["self_forcing"] == "as the reference"
    assert said["see"].startswith("nothing to compare")
    assert {text for name, text in said.items() if " " in name} == {"inside"}
    code, said = checked(reference, write_root(tmp_path / "other", seed=9), capsys, "--plot", str(tmp_path / "a.png"))
    assert code == 0
    assert said["report level2/nod_response"].startswith("0.59; seeds 0.5 ... 0.52 (no verdict")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_a_still_face_is_named_with_its_step(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def freeze(stage: str, row: dict[str, Any]) -> dict[str, Any]:
        late = stage == "self_forcing" and row["step"] >= 40
        return row | {"critic/rollout/motion": 0.1} if late else row

    code, said = checked(reference, write_root(tmp_path / "mine", seed=4, change=freeze), capsys)
    assert code == 1
    assert said["self_forcing"] == "unlike it: critic/rollout/motion unlike from step 40 on"
    assert "widths below" in said["self_forcing critic/rollout/motion"]
    assert said["teacher"] == "as the reference"


@pytest.mark.parametrize(("last", "until"), [(400, "on"), (220, "to 220")])
def test_an_exploding_loss_is_named_with_its_steps(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], last: int, until: str
) -> None:
    def explode(stage: str, row: dict[str, Any]) -> dict[str, Any]:
        sick = stage == "teacher" and 180 < row["step"] <= last
        return row | {"net/loss/video": row["net/loss/video"] * 30} if sick else row

    code, said = checked(reference, write_root(tmp_path / "mine", seed=4, change=explode), capsys)
    assert code == 1
    assert said["teacher"] == f"unlike it: net/loss/video unlike from step 200 {until}"
    assert "widths above" in said["teacher net/loss/video"]


def test_one_noisy_point_is_within_the_margin(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def jump(stage: str, row: dict[str, Any]) -> dict[str, Any]:
        return row | {"net/grad_norm": 2.2} if stage == "self_forcing" and row["step"] == 40 else row

    code, said = checked(reference, write_root(tmp_path / "mine", seed=4, change=jump), capsys)
    assert code == 0
    text = said["self_forcing net/grad_norm"]
    assert text.startswith("within the margin: ")
    assert MARGIN < float(text.split()[3]) < FAR


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_no_number_is_sick(
    reference: Path, seeds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float | None
) -> None:
    def spoil(stage: str, row: dict[str, Any]) -> dict[str, Any]:
        return row | {"net/loss/video": value} if stage == "see_teacher" and row["step"] in (130, 140) else row

    root = write_root(tmp_path / "mine", seed=4, change=spoil)
    code, said = checked(reference, root, capsys)
    assert code == 1
    assert said["see_teacher"] == "unlike it: net/loss/video not a number from step 130 on"
    assert main(["--reference", str(tmp_path / "no.json"), "write", str(seeds[0]), str(root)]) == 2
    assert "is sick" in capsys.readouterr().err
    assert not (tmp_path / "no.json").exists()


def test_updates_that_were_left_out_are_sick(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def skip(stage: str, row: dict[str, Any]) -> dict[str, Any]:
        return row | {"net/skipped": 1.0} if stage == "initialise" and row["step"] == 20 else row

    code, said = checked(reference, write_root(tmp_path / "mine", seed=4, change=skip), capsys)
    assert code == 1
    assert "net/skipped updates left out, first before step 20" in said["initialise"]


def test_of_a_resumed_run_the_later_rows_count(tmp_path: Path) -> None:
    rows = [(10, 1.0), (20, 9.0), (30, 9.0), (20, 2.0)]
    lines = [json.dumps({"step": step, "seconds": 0.0, "net/loss/video": value}) + "\n" for step, value in rows]
    (tmp_path / "metrics.jsonl").write_text("".join(lines) + '{"step": 30, "net/lo')
    log, ills = read_log(tmp_path)
    assert log["net/loss/video"].to_dict() == {10: 1.0, 20: 2.0}
    assert ills == {}
    means = binned(log, [15, 20, 40])["net/loss/video"].tolist()
    assert means[:2] == [1.0, 2.0]
    assert np.isnan(means[2]), "a bin whose end is not reached waits"


def test_a_run_under_way_is_compared_as_far_as_it_has_come(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rename(stage: str, row: dict[str, Any]) -> dict[str, Any]:
        return {"gradients" if name == "net/grad_norm" else name: value for name, value in row.items()}

    steps = {"teacher": 800, "autoregressive": 100, "initialise": 25}
    code, said = checked(reference, write_root(tmp_path / "mine", seed=4, steps=steps, change=rename), capsys)
    assert code == 0
    assert said["teacher"] == "as the reference (up to step 400: it has 800, the reference 400)"
    assert said["autoregressive"] == "as the reference (up to step 100: it has 100, the reference 750)"
    assert said["teacher net/grad_norm"] == "absent"
    assert said["self_forcing"].startswith("nothing to compare (no rows in ")


def test_what_is_no_reference_is_refused_with_the_remedy(
    seeds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*roots: Path) -> str:
        assert main(["--reference", str(tmp_path / "no.json"), "write", *map(str, roots)]) == 2
        assert not (tmp_path / "no.json").exists()
        return capsys.readouterr().err

    assert "at least two finished quickstarts" in refused(seeds[0])
    assert "seeds are [0, 0]" in refused(seeds[0], seeds[0])
    shorter = write_root(tmp_path / "shorter", seed=5, steps=STEPS | {"teacher": 320})
    assert "[400, 320] steps" in refused(seeds[0], shorter)
    (shorter / "see" / "done.json").unlink()
    assert "is not finished" in refused(seeds[0], shorter)


def test_what_cannot_be_checked_is_refused_with_the_remedy(
    reference: Path, seeds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--reference", str(reference), "check", str(tmp_path)]) == 2
    assert "give the folder of a quickstart" in capsys.readouterr().err
    assert main(["--reference", str(tmp_path / "none.json"), "check", str(seeds[0])]) == 2
    assert "make it by write" in capsys.readouterr().err
    assert Path(reference_curves.__file__).with_suffix(".json") == reference_curves.REFERENCE
