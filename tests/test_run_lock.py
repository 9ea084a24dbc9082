"""One process per run folder, however the one before ended; and a job that gets nowhere is stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from avatar_lab import run_lock, train
from avatar_lab.config import RunConfig, load, write_resolved
from avatar_lab.run_folder import claim
from avatar_lab.run_lock import JOB_VARIABLES, job_id, locked
from avatar_lab.training.checkpointing import CheckpointStore

HOLD = (
    "import pathlib, sys, time\n"
    "from avatar_lab.run_lock import locked\n"
    "with locked(pathlib.Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(float(sys.argv[2]))\n"
)


def hold(folder: Path, *, seconds: float) -> subprocess.Popen[str]:
    """A process that has ``folder`` locked for so long."""
    command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_process_is_refused_until_the_first_is_gone_even_by_a_kill(tmp_path: Path) -> None:
    holder = hold(tmp_path, seconds=100)
    try:
        with (
            pytest.raises(ValueError, match=rf'written by another process .*"process": {holder.pid}'),
            locked(tmp_path),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()
    with locked(tmp_path):
        pass


def test_a_requeued_job_waits_for_the_start_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whose node nobody reaches any more, though it keeps the lock for a while."""
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    holder = hold(tmp_path, seconds=3)
    try:
        with caplog.at_level("INFO", logger="avatar_lab.run_lock"), locked(tmp_path):
            pass
        assert [record.getMessage().split(": ")[-1] for record in caplog.records] == ["waiting 300 s for it"]
    finally:
        holder.kill()
        holder.wait()
    monkeypatch.setattr(run_lock, "DYING_SECONDS", 1.0)
    holder = hold(tmp_path, seconds=100)
    try:
        began = time.monotonic()
        with pytest.raises(ValueError, match="written by another process"), locked(tmp_path):
            pass
        assert time.monotonic() - began >= 1.0
    finally:
        holder.kill()
        holder.wait()


def test_row_10_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot be written .*choose another out="), locked(tmp_path / "file" / "run"):
        pass
    read_only = tmp_path / "read_only"
    read_only.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(read_only)], capture_output=True)
    if mount.returncode:
        pytest.skip("needs the right to mount a tmpfs: run as root")
    try:
        with pytest.raises(ValueError, match=r"\(Read-only file system\)"), locked(read_only / "run"):
            pass
    finally:
        subprocess.run(["umount", str(read_only)], check=True)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> str:
    for name in JOB_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert job_id() is None
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return "7"


def test_a_job_that_gets_nowhere_is_refused_and_one_that_does_is_not(
    tmp_path: Path, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(["experiment=codec_audio", f"out={tmp_path}"])
    limit = config.cluster["starts_without_progress"]
    for _ in range(limit):
        claim(tmp_path, config)
    with pytest.raises(ValueError, match=rf"job {job} was started {limit} times at step 0"):
        claim(tmp_path, config)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    claim(tmp_path, config)  # submitted again
    monkeypatch.setenv("SLURM_JOB_ID", job)
    CheckpointStore(tmp_path / "checkpoints", keep=1).save({"stage": "toy"}, step=3)
    claim(tmp_path, config)  # it got further


def test_outside_of_jobs_starts_are_not_counted(tmp_path: Path, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID")
    config = load(["experiment=codec_audio", f"out={tmp_path}"])
    for _ in range(config.cluster["starts_without_progress"] + 2):
        claim(tmp_path, config)


def test_tasks_of_an_array_are_jobs_of_their_own(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert job_id() == "5_2"


def test_a_requeued_job_goes_on_only_with_what_it_began(
    tmp_path: Path, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``resume=false``, after a first start that died before it had set the old run aside."""
    started: list[RunConfig] = []

    def run(config: RunConfig) -> int:
        started.append(config)
        return 0

    monkeypatch.setattr(train, "run", run)
    config = load(["experiment=codec_audio", f"out={tmp_path}", "resume=false"])
    path = write_resolved(tmp_path / "submitted", config)
    monkeypatch.setenv("SLURM_JOB_ID", "6")
    claim(tmp_path, config)  # the old run, by another job
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setattr(sys, "argv", ["train", train.SUBMITTED, str(path)])
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    train.main()
    claim(tmp_path, config)
    train.main()
    assert [config.resume for config in started] == [False, True]


@pytest.mark.parametrize("other", [{"LOCAL_RANK": "1"}, {"RANK": "1"}, {"SLURM_JOB_NAME": "interactive"}])
def test_ranks_of_another_launcher_do_not_meet(
    other: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside an allocation too, whose variables they inherit: a rank would wait for a first one that never comes."""
    slurm = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in (slurm | other).items():
        monkeypatch.setenv(name, value)
    begun: list[str] = []
    with run_lock.owned(tmp_path, lambda: begun.append("claimed")):
        pass
    assert begun == (["claimed"] if "SLURM_JOB_NAME" in other else [])
