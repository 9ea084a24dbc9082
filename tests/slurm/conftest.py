"""A real Slurm on this machine: one node, its controller and daemon started for the tests and stopped after them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.training.ranks import free_port

CONFIG = """ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
CredType=cred/munge
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,batch_sched_delay=0
MinJobAge=600
KillWait=5
JobRequeue=1
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 NodeHostname={host} Sockets=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=4000
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=hi Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
"""A requeued job waits for as long as ``cred_expire`` says; by default that is two minutes."""

CGROUP = """CgroupPlugin=cgroup/v1
CgroupAutomount=no
ConstrainCores=no
ConstrainRAMSpace=no
ConstrainDevices=no
"""


ROOT = Path(__file__).parent.parent.parent
ENDS = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """A running cluster of one node."""

    host: str
    environment: dict[str, str]

    def run(self, *command: str, folder: Path | None = None) -> str:
        """Output of a command on the cluster; its error fails the test."""
        done = subprocess.run(command, env=self.environment, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def avatar_lab(self, *arguments: str) -> str:
        """What a command of ours prints there."""
        return self.run(sys.executable, "-m", "avatar_lab.cli", *arguments, folder=ROOT)

    def state(self, job: str) -> str:
        """State of a job as ``scontrol`` says it."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return next(word.removeprefix("JobState=") for word in words if word.startswith("JobState="))

    def wait(self, what: Callable[[], bool], *, seconds: float = 240.0) -> None:
        """Until ``what`` is true."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, f"waited {seconds:g} s in vain; the queue: {self.run('squeue')}"
            time.sleep(0.2)

    def wait_for(self, job: str, state: str, *, seconds: float = 240.0) -> None:
        """Until the job is in ``state``; one that has ended otherwise fails the test with the end of its log."""

        def there() -> bool:
            now = self.state(job)
            assert now == state or now not in ENDS, f"job {job} is {now}: {self.log(job)}"
            return now == state

        self.wait(there, seconds=seconds)

    def log(self, job: str) -> str:
        """The last 3,000 characters of what the job printed."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        path = Path(next(word.removeprefix("StdOut=") for word in words if word.startswith("StdOut=")))
        return path.read_text()[-3000:] if path.is_file() else f"no log at {path}"


def _start_munge() -> bool:
    """Whether tickets can be had; a daemon is started if none runs."""
    if subprocess.run(["munge", "-n"], capture_output=True).returncode == 0:
        return True
    folder = Path("/run/munge")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.chown(folder, "munge", "munge")
    subprocess.run(["su", "-s", "/bin/sh", "munge", "-c", "/usr/sbin/munged"], capture_output=True)
    for _ in range(50):
        if subprocess.run(["munge", "-n"], capture_output=True).returncode == 0:
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if os.geteuid() != 0 or not all(shutil.which(name) for name in ("slurmctld", "slurmd", "munge")):
        pytest.skip("needs root and Debian's slurm-wlm and munge: apt-get install slurm-wlm munge")
    if not _start_munge():
        pytest.skip("munged does not start here: see journal or run munged --foreground")
    root, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (root / name).mkdir()
    places = {"host": host, "root": root, "controller": free_port(), "daemon": free_port()}
    (root / "slurm.conf").write_text(CONFIG.format(**places))
    (root / "cgroup.conf").write_text(CGROUP)
    environment = os.environ | {"SLURM_CONF": str(root / "slurm.conf"), "GLOO_SOCKET_IFNAME": "lo"}
    environment |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # jobs call python as a site would
    cluster = Slurm(host=host, environment=environment)
    try:
        subprocess.run(["slurmctld", "-c"], env=environment, check=True)
        subprocess.run(["slurmd", "-N", host], env=environment, check=True)
        cluster.wait(lambda: "idle" in cluster.run("sinfo", "--noheader", "--format=%t"), seconds=30)
        yield cluster
        cluster.run("scancel", "--user=root")
    finally:
        for name in ("slurmd", "slurmctld"):
            path = root / f"{name}.pid"
            if path.exists():
                subprocess.run(["kill", path.read_text().strip()])
