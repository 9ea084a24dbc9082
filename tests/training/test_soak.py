"""Kills at random moments, saves among them, cost nothing but time: a run ends in the bits of one left alone."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from avatar_lab.layout import Layout
from avatar_lab.training.fit import Machine
from tests.training.ranks import forking
from tests.training.resume import run_digests
from tests.training.test_resume import toy_data, toy_fit
from tests.training.toy import ToyStage

MEAN_STEPS = 8


class Reporting:
    """A batch source that tells of every batch."""

    def __init__(self, source: Any, to: Connection) -> None:
        self.source, self.to = source, to

    def loader(self, start_step: int, num_workers: int) -> Iterator[Any]:
        for step, batch in enumerate(self.source.loader(start_step, num_workers), start=start_step):
            self.to.send(step)
            yield batch


def train(out: Path, steps: int, to: Connection) -> None:
    """Saved after every step, so that many kills come in the middle of a save."""
    torch.set_num_threads(1)
    fit = replace(toy_fit(), steps=steps, checkpoint_minutes=0.0)
    source = Reporting(toy_data(), to)
    fit.run(stage=ToyStage(), data=source, layout=Layout(), out=out, seed=3, machine=Machine(accelerator="cpu"))


@pytest.mark.parametrize("kills", [pytest.param(20, marks=pytest.mark.ci), pytest.param(100, marks=pytest.mark.slow)])
def test_row_40_a_run_that_is_killed_again_and_again_ends_as_one_left_alone(tmp_path: Path, kills: int) -> None:
    steps, rng = kills * (2 * MEAN_STEPS + 10), random.Random(kills)

    def begin(out: Path) -> tuple[Any, Connection]:
        theirs, ours = forking().Pipe()
        process = forking().Process(target=train, args=(out, steps, theirs))
        process.start()
        theirs.close()
        return process, ours

    started = set()
    for _ in range(kills):
        process, events = begin(tmp_path / "killed")
        started.add(events.recv())
        for _ in range(rng.randrange(2 * MEAN_STEPS)):
            events.recv()
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    for out in ("killed", "straight"):
        process, events = begin(tmp_path / out)
        started.add(events.recv())
        while process.is_alive():
            if events.poll(0.1):
                try:
                    events.recv()
                except EOFError:
                    process.join()
        assert process.exitcode == 0
    assert len(started) > kills / 2, "most lives got somewhere"
    assert run_digests(tmp_path / "killed") == run_digests(tmp_path / "straight")
    left = {
        out: sorted(path.name for path in (tmp_path / out / "checkpoints").iterdir()) for out in ("killed", "straight")
    }
    assert left["killed"] == left["straight"], "nothing remains of killed saves"
