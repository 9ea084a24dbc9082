"""Consistency distillation: its points, its fixed point, and what pulls where."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.level import Level
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.objective.consistency import CausalConsistency, trajectory_points
from tests.factory import SILENCE_K, random_batch, tiny_model

ONE_STEP = Sampler(steps=(1.0,), renoise=1.0)


def objective(intervals: int, sampler: Sampler = ONE_STEP) -> CausalConsistency:
    return CausalConsistency(silence_K=SILENCE_K, rates=ConditionRates(), sampler=sampler, intervals=intervals)


def gradients(found: CausalConsistency, student: AvatarModel, slow: AvatarModel, teacher: AvatarModel) -> list[Tensor]:
    losses = found(student, slow, teacher, random_batch(), torch.Generator().manual_seed(3))
    parameters = [p for p in student.net.parameters() if p.requires_grad]
    made = torch.autograd.grad(losses.total, parameters, allow_unused=True)
    return [gradient for gradient in made if gradient is not None]


def size(gradient: list[Tensor]) -> float:
    return float(torch.stack([g.square().sum() for g in gradient]).sum().sqrt())


def test_points_hold_the_students_steps_and_end_at_the_data() -> None:
    assert trajectory_points([1.0, 0.6, 0.2], 4) == [1.0, 0.75, 0.6, 0.5, 0.25, 0.2, 0.0]
    assert trajectory_points([1.0, 0.6, 0.2], 5) == [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    with pytest.raises(ValueError, match="at least 1"):
        objective(0)


def test_a_student_that_agrees_with_its_target_does_not_move() -> None:
    """With one interval the target is the teacher's own estimate; with more it lies elsewhere on the trajectory."""
    student = tiny_model(Level.LISTEN)
    teacher = deepcopy(student)
    still, moving = (gradients(objective(n), student, deepcopy(student), teacher) for n in (1, 4))
    assert size(still) < 1e-9
    assert size(moving) > 1e-4


def test_the_slow_copy_pulls_inside_and_the_teacher_at_the_end() -> None:
    student, other = tiny_model(Level.LISTEN), tiny_model(Level.LISTEN, seed=1)
    base = gradients(objective(1), student, student, other)
    assert size(base) > 1e-3
    same = gradients(objective(1), student, other, other)
    assert all(torch.equal(one, two) for one, two in zip(base, same, strict=True)), "one interval never asks the copy"
    inside = [gradients(objective(4), student, slow, student) for slow in (student, other)]
    assert any(not torch.equal(one, two) for one, two in zip(*inside, strict=True))


def test_no_gradient_reaches_copy_or_teacher() -> None:
    student, slow, teacher = (tiny_model(Level.LISTEN, seed=seed) for seed in range(3))
    losses = objective(4)(student, slow, teacher, random_batch(), torch.Generator().manual_seed(0))
    losses.total.backward()
    assert all(p.grad is None for net in (slow, teacher) for p in net.parameters())
    assert any(p.grad is not None for p in student.parameters())
