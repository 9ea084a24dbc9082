"""A graph of stages on a real Slurm: dependent jobs, a gate between them, a report at the end."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.slurm.conftest import Slurm

pytestmark = [pytest.mark.slurm, pytest.mark.ci]


@pytest.fixture(scope="module")
def recordings(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with recordings and shards of a few short conversations, one of which a gate may look at; one process at a
    time, since jobs of other tests are timed beside it."""
    root = tmp_path_factory.mktemp("graph")
    few = ("--dialogues", "5", "--held-out", "2", "--seconds", "16", "--workers", "1")
    slurm.avatar_lab("render", "--out", f"{root}/recordings", *few)
    splits = ("workers=1", "splits.train=0.6", "splits.val=0.4", "splits.test=0.0")
    config = ("--config", "configs/data_prep/world.yaml")
    slurm.avatar_lab("prepare", *config, f"source.root={root}/recordings", f"out={root}/shards", *splits)
    return root


def submit_graph(slurm: Slurm, root: Path, *arguments: str) -> dict[str, str]:
    """Numbers of the jobs of the smallest graph, by stage."""
    site = ("cluster=slurm_cpu", "cluster.setup=null", "cluster.sbatch.mem=null", "cluster.sbatch.cpus-per-task=1")
    shown = slurm.avatar_lab("submit", "--graph", "smoke", *site, f"root={root}", *arguments)
    return {name: job for job, name in re.findall(r"^job (\d+): (\w+),", shown, flags=re.MULTILINE)}


def test_a_graph_is_one_job_behind_the_other_and_ends_in_a_report(slurm: Slurm, recordings: Path) -> None:
    settings = ("num_dyads=2", "seconds=12", "films=0", "latency_seconds=0", "agents=[level2,level3,oracle]")
    jobs = submit_graph(slurm, recordings, "--evaluation", *settings, "workers=1")
    for job in jobs.values():
        slurm.wait_for(job, "COMPLETED", seconds=240)
    summary = json.loads((recordings / "report" / "summary.json").read_text())
    assert {"level2", "level3", "oracle"} <= {row["agent"] for row in summary["metrics"]}


def test_a_shut_gate_cancels_what_is_behind_it(slurm: Slurm, recordings: Path, tmp_path: Path) -> None:
    for name in ("recordings", "shards"):
        (tmp_path / name).symlink_to(recordings / name)
    bar = "{metric:nod_response,at_least:2.0,of:oracle}"
    jobs = submit_graph(slurm, tmp_path, f"gate={{artefact:teacher,evaluate:{{num_dyads:2,seconds:12}},bars:[{bar}]}}")
    slurm.wait_for(jobs["teacher"], "FAILED")
    for name in jobs.keys() - {"teacher"}:
        slurm.wait_for(jobs[name], "CANCELLED")
    assert not (tmp_path / "autoregressive").joinpath("done.json").exists()
    assert "the gate is shut" in slurm.log(jobs["teacher"])
