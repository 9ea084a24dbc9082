"""Preference: its value at the start, which way it pulls, and that losers do not know their user."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.level import Level
from avatar_lab.objective.conditions import ConditionRates, condition
from avatar_lab.objective.preference import Preference, preference_loss
from tests.factory import SILENCE_K, random_batch, tiny_model

HEARING = ConditionRates(no_user_audio=0.0, no_camera=1.0, toggle=0.0)


def objective() -> Preference:
    sampler = Sampler(steps=(1.0, 0.3), renoise=1.0)
    return Preference(silence_K=SILENCE_K, rates=HEARING, sampler=sampler, beta_audio=1.0, beta_video=1.0)


def test_loss_falls_towards_winners_and_away_from_losers() -> None:
    one = torch.ones(1)
    assert float(preference_loss(one, one, one, one, 3.0)) == pytest.approx(math.log(2))
    assert preference_loss(0.5 * one, one, one, one, 3.0) < math.log(2)
    assert preference_loss(one, 0.5 * one, one, one, 3.0) > math.log(2)
    assert float(preference_loss(0 * one, one, one, one, 2.0)) == pytest.approx(math.log1p(math.exp(-2)))


def test_a_student_that_is_its_reference_has_the_loss_of_a_coin() -> None:
    student = tiny_model(Level.LISTEN)
    losses = objective()(student, deepcopy(student), random_batch(), torch.Generator().manual_seed(0))
    for term in losses.terms.values():
        torch.testing.assert_close(term, torch.full_like(term, math.log(2)))
    losses.total.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in student.parameters())


def test_steps_make_recordings_likelier_than_deaf_rollouts() -> None:
    student = tiny_model(Level.LISTEN, dtype=torch.float32).train()
    reference, batch, prefer = deepcopy(student).requires_grad_(False), random_batch(dtype=torch.float32), objective()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01)
    found = []
    for _ in range(12):
        losses = prefer(student, reference, batch, torch.Generator().manual_seed(1))
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        found.append(float(losses.total.detach()))
    assert found[-1] < found[0] - 0.01
    assert losses.logs["preference/accuracy_video"] > 0.5


def test_losers_do_not_know_their_user() -> None:
    student, batch = tiny_model(Level.LISTEN), random_batch()
    other = random_batch(seed=5)
    made = []
    for user in (batch, other):
        changed, rng = replace(batch, user_audio_BTK=user.user_audio_BTK), torch.Generator().manual_seed(2)
        window = condition(student, changed, HEARING, SILENCE_K, student.level, rng)
        made.append(objective()._without_user(student, window.context, changed, rng)[0])
    assert torch.equal(made[0].video_BFHWC, made[1].video_BFHWC)


def test_a_beta_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Preference(silence_K=SILENCE_K, rates=HEARING, sampler=objective().sampler, beta_audio=0.0, beta_video=1.0)
