"""A rank that stops or dies does not hold the others for ever, and they say where they waited."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from avatar_lab.layout import Layout
from avatar_lab.training.fit import Fit, Machine
from avatar_lab.training.optimizer import AdamW
from tests.training.ranks import forking, free_port, launched_as
from tests.training.test_resume import toy_data
from tests.training.toy import ToyStage

STALL_SECONDS = 4.0


class Failing:
    """A batch source that stops or ends its process at the third batch."""

    def __init__(self, source: Any, how: str) -> None:
        self.source, self.how = source, how

    def loader(self, start_step: int, num_workers: int) -> Iterator[Any]:
        for step, batch in enumerate(self.source.loader(start_step, num_workers), start=start_step):
            if step == 3 and self.how == "stops":
                os.kill(os.getpid(), signal.SIGSTOP)
            if step == 3 and self.how == "dies":
                os._exit(1)
            yield batch


def train(rank: int, port: int, out: Path, how: str) -> None:
    launched_as(rank, port)
    torch.set_num_threads(1)
    optimizers = {"student": AdamW(lr=1e-2), "critic": AdamW(lr=1e-2)}
    fit = Fit(steps=1000, optimizers=optimizers, stall_minutes=STALL_SECONDS / 60)
    source = Failing(toy_data(), how) if rank == 1 else toy_data()
    machine = Machine(accelerator="cpu", devices=2)
    fit.run(stage=ToyStage(), data=source, layout=Layout(), out=out, seed=3, machine=machine)


@pytest.mark.ci
@pytest.mark.parametrize("how", ["stops", "dies"])
def test_rows_21_and_22_a_rank_that_is_gone_ends_the_other(tmp_path: Path, how: str) -> None:
    port = free_port()
    ranks = [forking().Process(target=train, args=(rank, port, tmp_path, how)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    try:
        ranks[0].join(timeout=60)
        assert ranks[0].exitcode == 1
    finally:
        for rank in ranks:
            rank.kill()
    left = tmp_path / "stalled" / "rank0.txt"
    if how == "stops":
        assert "all_reduce" in left.read_text(), "where it waited"
    else:
        assert not left.exists(), "the lost connection ended it before"


def end_and_live_on(out: Path) -> None:
    fit = Fit(steps=3, optimizers={"student": AdamW(lr=1e-2), "critic": AdamW(lr=1e-2)}, stall_minutes=5.0 / 60)
    machine = Machine(accelerator="cpu")
    fit.run(stage=ToyStage(), data=toy_data(), layout=Layout(), out=out, seed=3, machine=machine)
    time.sleep(6)


@pytest.mark.ci
def test_nobody_watches_a_run_that_has_ended(tmp_path: Path) -> None:
    process = forking().Process(target=end_and_live_on, args=(tmp_path,))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == 0
    assert not list((tmp_path / "stalled").iterdir())
