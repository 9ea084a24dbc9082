"""Level 3 is level 2 and a branch: what is copied, what must not move, and what none of it costs without steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avatar_lab.checkpoint import Checkpoint, at_level, load_checkpoint, weights_sha256
from avatar_lab.level import Level
from avatar_lab.stage.see import See
from avatar_lab.stage.see_teacher import branch_state
from avatar_lab.stage.start import network
from avatar_lab.training.fit import Fit, Machine
from avatar_lab.training.optimizer import AdamW
from tests.factory import LAYOUT
from tests.training.stages import STAGES, RandomDyads

ADAMW = AdamW(lr=1e-2)


def see(folder: Path) -> See:
    """The stage, with a teacher whose branch speaks."""
    stage = STAGES["see_teacher"](folder)
    teacher = stage.export(stage.roles)["see_teacher"]
    for name, value in branch_state(teacher.model).items():
        value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(len(name))))
    teacher.save(folder / "see_teacher.safetensors")
    made: See = STAGES["see"](folder)
    return made


def fit(stage: See, out: Path, steps: int) -> Checkpoint:
    trained = Fit(steps=steps, optimizers={"student": ADAMW, "critic": ADAMW}, ema_decay=0.5)
    machine = Machine(accelerator="cpu", precision="32-true")
    result = trained.run(stage=stage, data=RandomDyads(), layout=LAYOUT, out=out, seed=0, machine=machine)
    assert (result.steps_done, result.exit_code) == (steps, 0)
    return stage.export(result.roles)["level3"]


@pytest.mark.parametrize("steps", [0, 3])
def test_level_2_stays_and_the_branch_starts_as_the_teachers(tmp_path: Path, steps: int) -> None:
    stage = see(tmp_path)
    level2 = load_checkpoint(tmp_path / "self_forcing.safetensors").model
    taught = {name: value.clone() for name, value in branch_state(network(stage.roles, "teacher")).items()}
    level3 = fit(stage, tmp_path / "run", steps)
    assert weights_sha256(at_level(level3.model, Level.LISTEN)) == weights_sha256(level2)
    same = [torch.equal(value, taught[name]) for name, value in branch_state(level3.model).items()]
    assert len(same) == len(taught)
    assert all(same) == (steps == 0)
    assert [entry.partition(":")[0] for entry in level3.card.lineage] == ["self_forcing", "see_teacher"]


def test_a_level_2_that_moved_is_not_exported(tmp_path: Path) -> None:
    stage = see(tmp_path)
    with torch.no_grad():
        network(stage.roles, "student").net.audio_in.bias += 1e-3
    with pytest.raises(RuntimeError, match="level 2 changed"):
        stage.export(stage.roles)


def test_steps_cannot_be_negative() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        Fit(steps=-1, optimizers={})
