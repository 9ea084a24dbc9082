"""The job script with stand-ins for ``srun`` and ``scontrol``: what it asks for, and after which ends it runs again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from avatar_lab.config import load
from avatar_lab.run_graph import load_graph
from avatar_lab.submit import evaluation, training
from avatar_lab.training.callbacks import WARNING_VARIABLE
from avatar_lab.training.interrupts import REQUEUE_EXIT_CODE

SRUN = '#!/bin/bash\necho "$MASTER_ADDR ${SRUN_CPUS_PER_TASK:-}" >> $FOLDER/steps\nenv > $FOLDER/env\nexit $CODE\n'
SCONTROL = '#!/bin/bash\ncase $1 in show) echo first; echo second ;; requeue) echo "$2" >> $FOLDER/requeued ;; esac\n'
PREEMPTED = """#!/bin/bash
case $1 in
  requeue) echo "$2" >> $FOLDER/requeued ;;
  show)
    echo asked >> $FOLDER/asked
    [ $(wc -l < $FOLDER/asked) -gt $BUSY ] || exit 1
    echo PreemptEligibleTime=2025-01-01T00:00:00 PreemptTime=$PREEMPT_TIME
    for ((line = 0; line < 20000; line++)); do echo and more; done ;;
esac
"""
"""Fails ``BUSY`` times, then says more than a pipe holds."""
TOOLS = ("bash", "wc", "rm", "date", "grep", "env")

Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Runs the script once; its step ends with ``code``. Returns the script's own exit code."""
    script = tmp_path / "job.sbatch"
    cluster = ["cluster=slurm_cpu", "cluster.setup=null", "cluster.warning_seconds=480"]
    config = load(["experiment=codec_audio", f"out={tmp_path}", *cluster])
    script.write_text(training("job", str(tmp_path), [config]).script())
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:  # and no others: there may be a Slurm on this machine
        (folder / name).symlink_to(str(shutil.which(name)))

    def once(code: int, *, scontrol: str | None = SCONTROL, **variables: str) -> int:
        for name, text in (("srun", SRUN), ("scontrol", scontrol), ("sleep", "#!/bin/bash\n")):
            (folder / name).unlink(missing_ok=True)
            if text is not None:
                (folder / name).write_text(text)
                (folder / name).chmod(0o755)
        job = {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_NODELIST": "x", "CODE": str(code)}
        clean = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
        stand_ins = {"PATH": str(folder), "FOLDER": str(tmp_path), "SLURMD_NODENAME": "here"}
        environment = clean | job | stand_ins | variables
        with (tmp_path / "errors").open("w") as errors:
            return subprocess.run(["bash", script], env=environment, timeout=60, stderr=errors).returncode

    return once


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_step_gets_the_cores_of_its_job(start: Start, tmp_path: Path) -> None:
    assert start(0, SLURM_CPUS_PER_TASK="8") == 0
    assert start(0) == 0
    assert lines(tmp_path / "steps") == ["first 8", "first "]


def test_training_knows_how_long_before_its_end_slurm_warns(start: Start, tmp_path: Path) -> None:
    assert start(0) == 0
    assert "#SBATCH --signal=USR1@480\n" in (tmp_path / "job.sbatch").read_text()
    assert f"{WARNING_VARIABLE}=480" in lines(tmp_path / "env")


def test_a_step_gets_what_the_setup_made(start: Start, tmp_path: Path) -> None:
    """Of a job with ``--export=NONE``, Slurm tells its steps so; and a setup may read what is unset."""
    script = tmp_path / "job.sbatch"
    script.write_text(script.read_text().replace("set +u", "set +u\nexport MADE=yes$NOBODY_SET_THIS"))
    assert start(0, SLURM_EXPORT_ENV="NONE") == 0
    assert {"SLURM_EXPORT_ENV=ALL", "MADE=yes"} <= set(lines(tmp_path / "env"))


def test_an_evaluation_that_is_warned_of_its_limit_is_requeued(tmp_path: Path) -> None:
    graph = load_graph("smoke", [f"root={tmp_path}", "cluster=slurm_cpu", "cluster.setup=null"])
    script = tmp_path / "job.sbatch"
    script.write_text(evaluation(graph, []).script())
    assert "#SBATCH --signal=B:USR1@120\n" in script.read_text()
    folder = tmp_path / "bin"
    folder.mkdir()
    measure = "#!/bin/bash\n[ $1 = export ] || { echo $$ > $FOLDER/began; sleep $SECONDS_LONG; exit 5; }\n"
    for name, text in (("avatar-lab", measure), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    def ended(restarts: int) -> int:
        """What becomes of an evaluation that is warned while it measures, where nothing ends it but itself."""
        (tmp_path / "began").unlink(missing_ok=True)
        variables = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts), "SECONDS_LONG": "1"}
        variables |= {"PATH": f"{folder}:{os.environ['PATH']}", "FOLDER": str(tmp_path)}
        job = subprocess.Popen(["bash", script], env=os.environ | variables)
        while not (tmp_path / "began").exists():
            time.sleep(0.01)
        job.send_signal(signal.SIGUSR1)
        return job.wait(timeout=60)

    assert ended(0) == 5, "its own end, not that of the signal"
    assert lines(tmp_path / "requeued") == ["7"]
    assert ended(10) == 5
    assert lines(tmp_path / "requeued") == ["7"], "ten times are enough"


def test_without_scontrol_the_exit_code_asks_for_a_requeue(start: Start, tmp_path: Path) -> None:
    assert [start(code, scontrol=None) for code in (0, 1, REQUEUE_EXIT_CODE, 138, 143)] == [
        *(0, 1),
        *(REQUEUE_EXIT_CODE, REQUEUE_EXIT_CODE),
        143,
    ]
    assert lines(tmp_path / "steps") == ["here "] * 5


@pytest.mark.parametrize(
    ("busy", "time", "said"),
    [
        (0, "2025-01-01T00:00:00", ""),
        (3, "2025-01-01T00:00:00", ""),
        (0, "None", "job 7 is not requeued: it got TERM, and was not preempted"),
        (9, "2025-01-01T00:00:00", "job 7 is not requeued: it got TERM, and scontrol does not say"),
    ],
)
def test_a_preempted_job_is_requeued_and_another_says_why_not(
    start: Start, tmp_path: Path, busy: int, time: str, said: str
) -> None:
    """Of a controller that is busy, and of one that says much."""
    assert start(143, scontrol=PREEMPTED, BUSY=str(busy), PREEMPT_TIME=time) == 143
    assert lines(tmp_path / "requeued") == ([] if said else ["7"])
    assert said in (tmp_path / "errors").read_text()


def test_a_job_says_why_it_is_not_requeued_and_what_to_do(start: Start, tmp_path: Path) -> None:
    assert start(4) == 4
    assert lines(tmp_path / "errors") == ["job 7 is not requeued: its step ended with 4"]
    assert start(REQUEUE_EXIT_CODE, scontrol="#!/bin/bash\n[ $1 = show ]\n") == REQUEUE_EXIT_CODE
    assert "submit it again, it goes on (with resume=false it would begin anew" in (tmp_path / "errors").read_text()
    assert start(0) == 0
    assert lines(tmp_path / "errors") == []


def test_a_job_that_was_often_requeued_still_survives_a_warning_during_its_start(start: Start, tmp_path: Path) -> None:
    for restarts in range(5, 12):
        assert start(REQUEUE_EXIT_CODE, SLURM_RESTART_COUNT=str(2 * restarts)) == REQUEUE_EXIT_CODE
        assert start(138, SLURM_RESTART_COUNT=str(2 * restarts + 1)) == 138
    assert lines(tmp_path / "requeued") == ["7"] * 14


def test_a_job_whose_starts_all_die_of_the_warning_ends(start: Start, tmp_path: Path) -> None:
    assert [start(138, SLURM_RESTART_COUNT=str(restarts)) for restarts in range(6)] == [138] * 6
    assert lines(tmp_path / "requeued") == ["7"] * 5, "the sixth is the last"
    assert not list(tmp_path.glob("*.early")), "who requeues it by hand gives it as many again"
    array = {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "2"}
    assert start(138, **array) == 138
    assert lines(tmp_path / "requeued")[-1] == "5_2"
