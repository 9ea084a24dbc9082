"""What is handed to Slurm, with a stand-in for ``sbatch``: real ones run in tests/slurm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from avatar_lab import evaluate, submit, validation
from avatar_lab.config import load, read_resolved, resolved_path, write_resolved
from avatar_lab.evaluate_config import EvaluateConfig, evaluation_of
from avatar_lab.run_folder import claim
from avatar_lab.run_graph import in_order, load_graph, load_sweep, needs

SBATCH = '#!/usr/bin/env bash\necho "$@" >> {log}\nwc -l < {log}\n'
"""Numbers jobs from 1 on."""
REFUSING = '#!/usr/bin/env bash\n[ $(wc -l < {log}) -lt 4 ] || exit 1\necho "$@" >> {log}\nwc -l < {log}\n'
"""Takes four."""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in writes down how it was called."""
    log = tmp_path / "calls"
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text(SBATCH.format(log=log))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    return log


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["submit", *arguments])
    submit.main()


def test_what_a_job_runs_is_fixed_when_it_is_submitted(tmp_path: Path) -> None:
    config = load(["experiment=quickstart/teacher", "seed=3", f"out={tmp_path}"])
    path = write_resolved(tmp_path, config)
    assert path == resolved_path(tmp_path, config) == write_resolved(tmp_path, config)
    assert read_resolved(path) == config
    path.chmod(0o644)
    path.write_text(path.read_text().replace("seed: 3", "seed: 4"))
    with pytest.raises(ValueError, match="was changed after it was submitted"):
        read_resolved(path)
    with pytest.raises(ValueError, match="submit the run again"):
        read_resolved(tmp_path / "other.yaml")


def test_a_sweep_is_every_combination_in_folders_of_their_own(tmp_path: Path) -> None:
    alone = load_sweep(["experiment=quickstart/teacher", f"out={tmp_path}"])
    assert [run.out for run in alone] == [str(tmp_path)]
    runs = load_sweep(["experiment=quickstart/teacher", f"out={tmp_path}", "seed=1,2", "model.width=64,128"])
    assert [(run.seed, run.model["width"]) for run in runs] == [(1, 64), (1, 128), (2, 64), (2, 128)]
    assert [run.out for run in runs] == [str(tmp_path / str(number)) for number in range(4)]


def test_stages_wait_for_those_whose_artefacts_they_start_from(tmp_path: Path) -> None:
    configs = load_graph("quickstart", [f"root={tmp_path}"])
    after = {name: sorted(needs(config, configs)) for name, config in configs.items()}
    assert after == {
        "teacher": [],
        "autoregressive": ["teacher"],
        "initialise": ["autoregressive"],
        "self_forcing": ["autoregressive", "initialise"],
        "preference": ["self_forcing"],
        "see_teacher": ["autoregressive"],
        "see": ["preference", "see_teacher"],
    }
    order = in_order(after)
    assert all(order.index(other) < order.index(name) for name, others in after.items() for other in others)
    with pytest.raises(ValueError, match=r"in a circle: .*correct stage\.init"):
        in_order({"a": ["b"], "b": ["a"]})
    with pytest.raises(ValueError, match=r"no graph 'quickstat' \(did you mean 'quickstart'\?\)"):
        load_graph("quickstat", [])


def test_a_graph_becomes_dependent_jobs_and_an_evaluation(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "graph"
    arguments = ["--graph", "quickstart", f"root={root}", "cluster=slurm_cpu", "seed=5"]
    run(monkeypatch, *arguments, "--evaluation", "num_dyads=2")
    shown = capsys.readouterr().out
    lines = calls.read_text().splitlines()
    number = {Path(line.split()[-1]).stem: str(index) for index, line in enumerate(lines, start=1)}
    assert set(number) == {*load_graph("quickstart", []), "evaluate"}
    waits = {
        Path(line.split()[-1]).stem: line.split("afterok:")[-1].split()[0].split(":")
        for line in lines
        if "afterok" in line
    }
    assert waits["autoregressive"] == [number["teacher"]]
    assert set(waits["see"]) == {number["see_teacher"], number["preference"]}
    assert len(waits["evaluate"]) == 7
    assert all("--kill-on-invalid-dep=yes" in line for line in lines if "afterok" in line)
    assert f"job {number['see']}: see, run folder {root}/see" in shown
    text = (root / "evaluation" / "evaluate.sbatch").read_text()
    (settings,) = (root / "evaluation" / "settings").iterdir()
    assert f"avatar-lab evaluate --submitted {settings}\n" in text
    asked: list[EvaluateConfig] = []
    monkeypatch.setattr(evaluate, "run", asked.append)
    monkeypatch.setattr(sys, "argv", ["evaluate", "--submitted", str(settings)])
    evaluate.main()
    assert (asked[0].root, asked[0].seed, asked[0].num_dyads) == (str(root), 5, 2)
    assert (asked[0].shards, asked[0].report) == (f"{root}/shards", f"{root}/report")
    assert f"--to {root}/checkpoints" in text
    exported = next(line for line in text.splitlines() if line.startswith("avatar-lab export")).split()
    assert exported.index(f"{root}/self_forcing") < exported.index(f"{root}/preference"), "level 2 is of the later one"
    for path in root.rglob("*.sbatch"):
        assert subprocess.run(["bash", "-n", path]).returncode == 0
    (resolved,) = (root / "see" / "submitted").iterdir()
    assert read_resolved(resolved).seed == 5
    assert str(resolved) in (root / "see" / "see.sbatch").read_text()


def test_what_a_gate_and_a_judge_measure_is_fixed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = "bars:[{metric:nod_response,at_least:0.5}]"
    asked = [
        f"gate={{artefact:teacher,evaluate:{{num_dyads:3}},{bars}}}",
        "judge={artefact:teacher,metric:nod_response,every_steps:2}",
    ]
    config = load(["experiment=smoke/teacher", "cluster=slurm_cpu", f"root={tmp_path}", *asked])
    (run,) = submit.training("teacher", config.out, [config]).runs
    assert submit.fixed(run) == run
    assert run.gate is not None
    assert run.judge is not None

    def edited(*_: object) -> None:
        raise AssertionError("configs/evaluate.yaml is read after the submission")

    monkeypatch.setattr(validation, "compose_more", edited)
    gate, judge = (validation.settings(run, each["evaluate"]) for each in (run.gate, run.judge))
    assert (gate["num_dyads"], gate["seconds"], gate["split"], gate["workers"]) == (3, 54, "val", 2)
    assert (judge["num_dyads"], judge["seconds"], judge["split"], judge["workers"]) == (32, 54, "val", 1)
    with pytest.raises(ValueError, match="no key 'num_dyad'"):
        submit.fixed(load(["experiment=smoke/teacher", asked[0].replace("dyads", "dyad")]))


def test_the_evaluation_of_a_graph_has_its_layout_and_codecs(tmp_path: Path) -> None:
    other = ["layout=fps30", "layout.block_seconds=4/5", "codec=mimi_wan", "codec.audio_codec.num_codebooks=4"]
    other += ["+codec.audio_codec.device=cuda"]
    graph = load_graph("smoke", [f"root={tmp_path}", "cluster=slurm_cpu", *other])
    config = submit.evaluation(graph, ["num_dyads=2"]).measures
    assert config is not None
    assert (config.layout["fps"], config.layout["block_seconds"]) == (30, "4/5")
    assert (config.codec["audio_codec"]["num_codebooks"], "device" in config.codec["audio_codec"]) == (4, False)
    elsewhere = ["codec=mimi_wan", "+codec.audio_codec.device=cuda:7", "device=cuda:7", f"shards={tmp_path}/others"]
    config = evaluation_of(graph["teacher"], elsewhere)
    assert config.codec["audio_codec"]["device"] == config.device == "cuda:7", "not of the machine that submits"
    assert (config.layout["fps"], config.shards) == (30, f"{tmp_path}/others")
    with pytest.raises(ValueError, match="unknown agent 'levle2'"):
        evaluation_of(graph["teacher"], ["agents=[levle2]"])


@pytest.mark.parametrize("cancels", [True, False])
def test_a_graph_that_is_refused_in_part_does_not_stay_in_the_queue(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch, cancels: bool
) -> None:
    calls.touch()
    (tmp_path / "bin" / "sbatch").write_text(REFUSING.format(log=calls))
    scancel = tmp_path / "bin" / "scancel"
    scancel.write_text(f'#!/usr/bin/env bash\necho "$@" > {tmp_path}/cancelled\nexit {0 if cancels else 1}\n')
    scancel.chmod(0o755)
    said = r"were cancelled \(1, 2, 3, 4\)" if cancels else "are still queued, .*: scancel 1 2 3 4"
    with pytest.raises(SystemExit, match=rf"sbatch refused .* Jobs before it {said}"):
        run(monkeypatch, "--graph", "smoke", f"root={tmp_path}/graph", "cluster=slurm_cpu")
    assert (tmp_path / "cancelled").read_text() == "1 2 3 4\n"


def test_the_evaluation_of_a_graph_asks_for_one_process_without_a_device(tmp_path: Path) -> None:
    wide = ["cluster=slurm", "cluster.machine.devices=4", "cluster.machine.num_nodes=2", "+cluster.sbatch.gres=gpu:4"]
    graph = load_graph("quickstart", [f"root={tmp_path}", *wide, "cluster.sbatch.partition=long"])
    text = submit.evaluation(graph, []).script()
    asked = {line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --")}
    assert {"nodes=1", "ntasks-per-node=1", "cpus-per-task=8", "mem=64G", "time=24:00:00", "partition=long"} <= asked
    assert "gpu" not in text
    assert "#SBATCH --gpus-per-node=4\n" in submit.training("see", str(tmp_path), [graph["see"]]).script()
    elsewhere = ["+cluster.evaluation.partition=cpu", "+cluster.evaluation.gpus-per-node=1"]
    graph = load_graph("quickstart", [f"root={tmp_path}", *wide, "cluster.sbatch.partition=long", *elsewhere])
    text = submit.evaluation(graph, []).script()
    assert "#SBATCH --partition=cpu\n" in text
    assert "#SBATCH --gpus-per-node=1\n" in text
    assert "long" not in text
    assert "#SBATCH --partition=long\n" in submit.training("see", str(tmp_path), [graph["see"]]).script()


def test_a_sweep_becomes_one_array(tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "experiment=quickstart/teacher", f"out={tmp_path}/x", "cluster=slurm_cpu", "seed=1,2,3")
    assert len(calls.read_text().splitlines()) == 1
    text = (tmp_path / "x" / "x.sbatch").read_text()
    assert "#SBATCH --array=0-2\n" in text
    assert "slurm-%A_%a.log" in text
    for number in range(3):
        (path,) = (tmp_path / "x" / str(number) / "submitted").iterdir()
        assert read_resolved(path).seed == number + 1
        assert str(path) in text


def test_the_warning_before_the_time_limit_is_a_fact_of_the_cluster(tmp_path: Path) -> None:
    def script(*overrides: str) -> str:
        config = load(["experiment=quickstart/teacher", f"out={tmp_path}", "cluster=slurm", *overrides])
        return submit.training("job", str(tmp_path), [config]).script()

    assert "#SBATCH --signal=USR1@120\n" in script()
    assert "#SBATCH --signal=USR1@600\n" in script("cluster.warning_seconds=600")
    for refused in ("null", "0", "70000", "1.5"):
        with pytest.raises(ValueError, match=r"cluster\.warning_seconds .* whole number from 1 to 65535"):
            script(f"cluster.warning_seconds={refused}")


def test_options_are_written_as_slurm_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*overrides: str, out: Path = tmp_path) -> set[str]:
        config = load(["experiment=quickstart/teacher", "cluster=slurm", f"out={out}", *overrides])
        text = submit.training("job", str(out), [config]).script()
        return {line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --")}

    flags = asked("+cluster.sbatch.exclusive=true", "+cluster.sbatch.contiguous=false", "cluster.sbatch.mem=null")
    assert "exclusive" in flags
    assert not [each for each in flags if each.startswith(("contiguous", "mem"))]
    assert "time=90" in asked("cluster.sbatch.time='90'")
    for option in ("cluster.sbatch.time=86400", "+cluster.sbatch.begin=960"):  # unquoted 24:00:00 and 16:00
        with pytest.raises(ValueError, match="is a number: quote it"):
            asked(option)
    assert f"output='{tmp_path}/two words/slurm-%j.log'" in asked(out=tmp_path / "two words")
    monkeypatch.chdir(tmp_path)  # submitted again from elsewhere, a script still finds its folder
    assert f"output={tmp_path}/run/slurm-%j.log" in asked(out=Path("run"))
    config = load(["experiment=quickstart/teacher", "cluster=slurm", "out=run"])
    assert f"\ncd {tmp_path}\n" in submit.training("job", "run", [config]).script()


def test_what_a_job_would_refuse_is_refused_at_once(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = ["experiment=quickstart/teacher", "cluster=slurm_cpu", f"root={tmp_path}/avatars"]
    claim(tmp_path / "avatars" / "teacher" / "0", load([*teacher, "seed=0"]))
    with pytest.raises(SystemExit, match=r"another config \(seed: 0 -> 2\): choose another out= or root="):
        run(monkeypatch, *teacher, "seed=2,3")
    with pytest.raises(SystemExit, match="no stage chosen"):
        run(monkeypatch, "cluster=slurm_cpu", f"out={tmp_path}/nothing")
    with pytest.raises(SystemExit, match=r"seed=0,1 has several values: submit a graph for each"):
        run(monkeypatch, "--graph", "smoke", "cluster=slurm_cpu", f"root={tmp_path}/graph", "seed=0,1")
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"error: .*file"):
        run(monkeypatch, *teacher, f"out={tmp_path}/file/run")
    assert not calls.exists()
    run(monkeypatch, *teacher, "seed=0,3", "resume=false")
    shown = capsys.readouterr().out
    assert f"tail -F {tmp_path}/avatars/teacher/slurm-1_0.log" in shown
    assert f"avatar-lab runs tail {tmp_path}/avatars/teacher/0" in shown
    assert f"note: teacher needs prepared data, and {tmp_path}/avatars/shards holds none yet" in shown


def test_no_secret_of_the_environment_is_written_anywhere(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 30: what is in the environment stays there."""
    monkeypatch.setenv("WANDB_API_KEY", "secret-4711")
    run(monkeypatch, "--graph", "quickstart", f"root={tmp_path}/graph", "cluster=slurm_cpu")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 14
    assert not [path for path in files if b"secret-4711" in path.read_bytes()]


def test_nothing_is_submitted_where_one_job_cannot_be(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="add cluster=slurm"):
        run(monkeypatch, "--graph", "quickstart", f"root={tmp_path}/graph")
    assert not calls.exists()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match="no sbatch on this machine"):
        run(monkeypatch, "experiment=quickstart/teacher", f"out={tmp_path}/x", "cluster=slurm_cpu")
