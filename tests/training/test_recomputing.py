"""Layers computed again in the backward pass: the same gradients, and less to remember."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from avatar_lab.layout import Layout
from avatar_lab.stage.protocol import parts_of
from avatar_lab.training.fit import Fit, Machine
from avatar_lab.training.module import StageModule
from avatar_lab.training.optimizer import AdamW
from avatar_lab.training.update_guard import UpdateGuard
from tests.factory import LAYOUT, random_batch
from tests.training.stages import NUM_BLOCKS, STAGES, stirred
from tests.training.test_resume import toy_data
from tests.training.toy import ToyStage


def backward(name: str, folder: Path, *, recompute: bool) -> dict[str, Tensor]:
    """Gradients of all updates of a stage's first step."""
    stage = stirred(STAGES[name](folder))
    StageModule(
        stage=stage,
        optimizers=dict.fromkeys(stage.trained, AdamW(lr=1e-3)),
        layout=LAYOUT,
        seed=0,
        total_steps=1,
        ema_decay=0.9,
        guard=UpdateGuard(max_skipped_steps=1, folder=folder),
        recompute_layers=recompute,
    )
    batch = random_batch(num_blocks=NUM_BLOCKS, dtype=torch.float32)
    for _, losses in stage.turns(batch, 2, torch.Generator().manual_seed(1)):
        for part in parts_of(losses):
            part.total.backward()
    return {key: p.grad for key, p in stage.roles.named_parameters() if p.grad is not None}


def kept_by_forward(name: str, folder: Path, *, recompute: bool) -> int:
    """Bytes that one forward pass of a stage's first update keeps for its backward pass."""
    stage = STAGES[name](folder)
    for role in stage.trained:
        stage.roles[role].net.recompute_layers = recompute
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        next(iter(stage.turns(random_batch(num_blocks=NUM_BLOCKS, dtype=torch.float32), 2, torch.Generator())))
    return kept


@pytest.mark.parametrize("name", ["teacher", "autoregressive", "self_forcing", "long_tune", "see"])
def test_gradients_are_the_same_to_the_bit(name: str, tmp_path: Path) -> None:
    remembered, recomputed = (backward(name, tmp_path, recompute=flag) for flag in (False, True))
    assert remembered.keys() == recomputed.keys()
    assert sum(int(gradient.count_nonzero()) for gradient in remembered.values()) > 10_000
    assert all(torch.equal(gradient, recomputed[key]) for key, gradient in remembered.items())


@pytest.mark.parametrize("name", ["teacher", "autoregressive"])
def test_less_than_half_is_remembered(name: str, tmp_path: Path) -> None:
    whole, part = (kept_by_forward(name, tmp_path, recompute=flag) for flag in (False, True))
    assert part < whole / 2


def test_a_stage_without_layers_is_refused(tmp_path: Path) -> None:
    fit = Fit(steps=1, optimizers=dict.fromkeys(("student", "critic"), AdamW(lr=1e-2)), checkpoint_activations=True)
    with pytest.raises(ValueError, match="has no transformer layers"):
        fit.run(
            stage=ToyStage(),
            data=toy_data(),
            layout=Layout(),
            out=tmp_path,
            seed=0,
            machine=Machine(accelerator="cpu"),
        )
