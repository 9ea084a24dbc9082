"""Jobs on a real Slurm: however they are interrupted, they end in the bits of a run that was not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from avatar_lab.training.metrics_log import read_rows
from tests.slurm.conftest import ROOT, Slurm
from tests.training.resume import run_digests

pytestmark = [pytest.mark.slurm, pytest.mark.ci]


STEPS = 120
RUN = [
    *("experiment=codec_audio", "data.batch_size=2", "data.dataset.num_tokens=8", f"training.steps={STEPS}"),
    *("training.log_every_steps=1", "cluster=slurm_cpu", "cluster.setup=null", "cluster.sbatch.mem=null"),
    *("cluster.sbatch.cpus-per-task=1",),
]
"""A run of seconds whose every step is logged."""


def submit(slurm: Slurm, *arguments: str) -> list[str]:
    """Numbers of the jobs that were submitted, in order."""
    shown = slurm.avatar_lab("submit", *RUN, *arguments)
    return re.findall(r"^job (\d+):", shown, flags=re.MULTILINE)


def steps(out: Path) -> list[float]:
    path = out / "metrics.jsonl"
    return [row["step"] for row in read_rows(path)] if path.exists() else []


def begun(out: Path, at_least: int = 5) -> Callable[[], bool]:
    return lambda: len(steps(out)) >= at_least


def starts(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "starts.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of the same run on no cluster, without any interruption."""
    out = tmp_path_factory.mktemp("straight")
    command = [sys.executable, "-m", "avatar_lab.train", *RUN, f"out={out}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return run_digests(out)


def assert_whole(slurm: Slurm, job: str, out: Path, straight: dict[str, str], *, num_starts: int) -> None:
    slurm.wait_for(job, "COMPLETED")
    assert [start["job"] for start in starts(out)] == [job] * num_starts
    assert steps(out) == list(range(1, STEPS + 1)), "no step is lost or done twice"
    assert run_digests(out) == straight
    assert (out / "tiny_audio.safetensors").exists()


def test_a_job_that_is_warned_of_its_end_saves_is_requeued_once_and_goes_on(
    slurm: Slurm, tmp_path: Path, straight: dict[str, str]
) -> None:
    begin = time.monotonic()
    (job,) = submit(slurm, f"out={tmp_path}")
    slurm.wait(begun(tmp_path))
    assert time.monotonic() - begin < 30, "from submission to the first steps"
    slurm.run("scancel", "--signal=USR1", job)
    assert_whole(slurm, job, tmp_path, straight, num_starts=2)
    assert starts(tmp_path)[1]["step"] not in (0, STEPS)
    text = next(tmp_path.glob("slurm-*.log")).read_text()
    assert text.count("resuming from") == 1, "the second start appends to the log of the first"


def test_a_job_that_makes_room_for_a_better_one_goes_on_after_it(
    slurm: Slurm, tmp_path: Path, straight: dict[str, str]
) -> None:
    (job,) = submit(slurm, f"out={tmp_path}")
    slurm.wait(begun(tmp_path))
    better = slurm.run("sbatch", "--parsable", "--partition=hi", "--ntasks=2", "--output=/dev/null", "--wrap=sleep 3")
    slurm.wait_for(better, "COMPLETED")
    assert_whole(slurm, job, tmp_path, straight, num_starts=2)
    assert starts(tmp_path)[1]["step"] not in (0, STEPS)


def test_a_job_that_reaches_its_time_limit_goes_on_behind_it(slurm: Slurm, tmp_path: Path) -> None:
    """By the limit itself, not by a signal of ours: Slurm, which looks every half minute, warns 120 s ahead of it."""
    long = ["data.batch_size=12", "data.dataset.num_tokens=48"]  # most of a minute: Slurm looks at it at least once
    (whole,) = submit(slurm, f"out={tmp_path}/whole", *long)
    (job,) = submit(slurm, f"out={tmp_path}/cut", *long)
    slurm.wait(begun(tmp_path / "cut"))
    slurm.run("scontrol", "update", f"jobid={job}", "timelimit=2")
    slurm.wait(lambda: "Restarts=1" in slurm.run("scontrol", "--oneliner", "show", "job", job))
    slurm.run("scontrol", "update", f"jobid={job}", "timelimit=120")
    slurm.wait_for(whole, "COMPLETED", seconds=480)
    slurm.wait_for(job, "COMPLETED", seconds=480)
    assert_whole(slurm, job, tmp_path / "cut", run_digests(tmp_path / "whole"), num_starts=2)


def test_a_node_that_goes_down_costs_what_was_not_saved_and_no_more(
    slurm: Slurm, tmp_path: Path, straight: dict[str, str]
) -> None:
    (job,) = submit(slurm, f"out={tmp_path}", "training.checkpoint_minutes=0.01")
    slurm.wait(begun(tmp_path, 20))
    slurm.run("scontrol", "update", f"nodename={slurm.host}", "state=down", "reason=test")  # it returns by itself
    slurm.run("scontrol", "update", f"jobid={job}", "starttime=now+20")  # when what it ran is gone from there
    assert_whole(slurm, job, tmp_path, straight, num_starts=2)


def test_a_signal_before_the_first_step_loses_the_job_nothing(
    slurm: Slurm, tmp_path: Path, straight: dict[str, str]
) -> None:
    """Python has not even imported torch: it dies of the signal, and the script requeues."""
    (job,) = submit(slurm, f"out={tmp_path}")
    # its process: squeue lists a step before there is one, and the signal would reach nobody
    task = ["pgrep", "-f", f"^[^ ]*python -m avatar_lab.train --submitted {tmp_path}/"]
    slurm.wait(lambda: subprocess.run(task, stdout=subprocess.DEVNULL).returncode == 0)
    slurm.run("scancel", "--signal=USR1", job)
    slurm.wait_for(job, "COMPLETED")
    assert "Restarts=1" in slurm.run("scontrol", "--oneliner", "show", "job", job)
    assert_whole(slurm, job, tmp_path, straight, num_starts=len(starts(tmp_path)))


def test_of_a_sweep_only_the_task_that_was_warned_is_requeued(
    slurm: Slurm, tmp_path: Path, straight: dict[str, str]
) -> None:
    (job,) = submit(slurm, f"out={tmp_path}", "seed=0,1")
    slurm.wait(begun(tmp_path / "0"))
    slurm.run("scancel", "--signal=USR1", f"{job}_0")
    for task in (0, 1):
        slurm.wait_for(f"{job}_{task}", "COMPLETED")
        assert steps(tmp_path / str(task)) == list(range(1, STEPS + 1))
    assert [start["job"] for start in starts(tmp_path / "0")] == [f"{job}_0"] * 2
    assert [start["job"] for start in starts(tmp_path / "1")] == [f"{job}_1"]
    assert run_digests(tmp_path / "0") == straight
    assert run_digests(tmp_path / "1")["roles"] != straight["roles"]


def test_two_ranks_save_the_same_step(slurm: Slurm, tmp_path: Path) -> None:
    two = ["cluster.machine.devices=2", "cluster.sbatch.ntasks-per-node=2"]
    (whole,) = submit(slurm, f"out={tmp_path}/whole", *two)
    slurm.wait_for(whole, "COMPLETED")
    (job,) = submit(slurm, f"out={tmp_path}/cut", *two)
    slurm.wait(begun(tmp_path / "cut"))
    slurm.run("scancel", "--signal=USR1", job)
    assert_whole(slurm, job, tmp_path / "cut", run_digests(tmp_path / "whole"), num_starts=2)


def test_what_waits_for_a_run_that_fails_never_starts(slurm: Slurm, tmp_path: Path) -> None:
    (failing,) = submit(slurm, f"out={tmp_path}/first", "+data.nonsense=1")
    waiting = slurm.run(
        *("sbatch", "--parsable", f"--dependency=afterok:{failing}", "--kill-on-invalid-dep=yes"),
        *("--output=/dev/null", "--wrap=true"),
    )
    slurm.wait_for(failing, "FAILED")
    slurm.wait_for(waiting, "CANCELLED")
    assert "has no argument 'nonsense'" in next((tmp_path / "first").glob("slurm-*.log")).read_text()
