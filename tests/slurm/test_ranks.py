"""Two ranks as ``srun`` starts them, on no Slurm: where one leaves, the other does, without a collective's patience."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from avatar_lab.config import load, write_resolved
from avatar_lab.layout import Layout
from avatar_lab.run_folder import claim, read_starts
from avatar_lab.training.fit import Fit, Machine
from avatar_lab.training.interrupts import Interrupts
from avatar_lab.training.optimizer import AdamW
from tests.training.ranks import forking, free_port, launched_as
from tests.training.test_resume import toy_data
from tests.training.toy import ToyStage

RUN = [
    *("experiment=codec_audio", "data.batch_size=2", "data.dataset.num_tokens=8", "training.steps=2"),
    *("cluster=slurm_cpu", "cluster.machine.devices=2", "cluster.machine.precision=32-true"),
]


def steps_of(path: Path) -> list[subprocess.Popen[str]]:
    """Both ranks of a step that runs the resolved config ``path``."""
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "job", "SLURM_NTASKS": "2", "SLURM_NODEID": "0", "SLURM_NNODES": "1"}
    job |= {"SLURM_NTASKS_PER_NODE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    job |= {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "avatar_lab.train", "--submitted", str(path)]
    return [
        subprocess.Popen(
            command,
            env=os.environ | job | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def ends_of(ranks: list[subprocess.Popen[str]], *, seconds: float = 10.0) -> tuple[list[int], list[str]]:
    """Exit codes and what was said; the second rank has ``seconds`` after the first."""
    try:
        said = [ranks[0].communicate(timeout=120)[0], ranks[1].communicate(timeout=seconds)[0]]
    finally:
        for rank in ranks:
            rank.kill()
    return [rank.returncode for rank in ranks], said


@pytest.mark.ci
def test_where_the_first_rank_refuses_all_end(tmp_path: Path) -> None:
    claim(tmp_path, load([*RUN, f"out={tmp_path}", "seed=1"]))
    path = write_resolved(tmp_path / "submitted", load([*RUN, f"out={tmp_path}", "seed=2"]))
    codes, said = ends_of(steps_of(path))
    assert codes == [2, 2]
    assert "holds a run with another config (seed: 1 -> 2)" in said[0]
    assert "the first rank did not begin" in said[1]


@pytest.mark.ci
def test_ranks_that_have_met_train_together(tmp_path: Path) -> None:
    path = write_resolved(tmp_path / "submitted", load([*RUN, f"out={tmp_path}"]))
    codes, said = ends_of(steps_of(path))
    assert codes == [0, 0], said
    assert len(read_starts(tmp_path)) == 1
    assert (tmp_path / "tiny_audio.safetensors").exists()


class Pondering:
    """A judge that takes long over its first step."""

    every_steps = 2

    def __init__(self, begun: Path) -> None:
        self.begun = begun

    def knows(self, step: int) -> bool:
        return False

    def forget_after(self, step: int) -> None:
        pass

    def judge(self, *, step: int, artefacts: Mapping[str, Any]) -> None:
        self.begun.touch()
        time.sleep(60)


def judged(rank: int, port: int, out: Path) -> None:
    launched_as(rank, port)
    torch.set_num_threads(1)
    fit = Fit(steps=4, optimizers={"student": AdamW(lr=1e-2), "critic": AdamW(lr=1e-2)})
    judge = Pondering(out / "begun")
    machine = Machine(accelerator="cpu", devices=2)
    fit.run(stage=ToyStage(), data=toy_data(), layout=Layout(), out=out, seed=3, machine=machine, judge=judge)


@pytest.mark.ci
def test_a_signal_during_a_judgement_ends_every_rank(tmp_path: Path) -> None:
    port = free_port()
    ranks = [forking().Process(target=judged, args=(rank, port, tmp_path)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(1)  # for the other to come to where it waits
        for rank in ranks[::-1]:  # as Slurm does; the other before the first, whose end would end it too, with gloo
            os.kill(rank.pid, signal.SIGUSR1)
            rank.join(timeout=10)
        assert [rank.exitcode for rank in ranks] == [-signal.SIGUSR1] * 2
    finally:
        for rank in ranks:
            rank.kill()


def warned_too_early() -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGUSR1)
        with interrupts.disarmed():
            time.sleep(60)


def test_a_warning_just_before_a_judgement_is_not_forgotten_during_it() -> None:
    process = forking().Process(target=warned_too_early)
    process.start()
    try:
        process.join(timeout=50)
        assert process.exitcode == -signal.SIGUSR1
    finally:
        process.kill()
