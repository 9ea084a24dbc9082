"""Schedules are pure functions of the step; groups follow names; averages follow weights."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from avatar_lab.training.ema import EMA, averaged_roles
from avatar_lab.training.muon import Muon
from avatar_lab.training.optimizer import AdamW, Constant, Cosine, restore_moments


def test_cosine_warms_up_and_ends_at_its_floor() -> None:
    schedule = Cosine(warmup_steps=10, floor=0.1)
    factors = [schedule.factor(step, 110) for step in range(111)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == pytest.approx(1.0, abs=1e-3)
    assert factors[60] == pytest.approx(0.55, abs=1e-6)
    assert factors[110] == pytest.approx(0.1)
    assert all(b <= a for a, b in pairwise(factors[11:]))


def test_constant_warms_up() -> None:
    assert [Constant(warmup_steps=4).factor(step, 9) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_groups_by_name_and_shape() -> None:
    network = nn.ModuleDict({"audio": nn.Linear(2, 2), "video": nn.Linear(2, 2)})
    network["video"].bias.requires_grad_(False)
    settings = AdamW(lr=1.0, weight_decay=0.5, lr_factors={"*audio*": 0.25})
    optimizer = settings.build(network)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 3
    seen = {(group["base_lr"], group["weight_decay"]) for group in optimizer.param_groups}
    assert seen == {(0.25, 0.5), (0.25, 0.0), (1.0, 0.5)}
    settings.set_lr(optimizer, 0, 10)
    assert [group["lr"] for group in optimizer.param_groups] == [group["base_lr"] for group in optimizer.param_groups]


def test_a_pattern_without_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\['\*sound\*'\] match no parameter"):
        AdamW(lr=1.0, lr_factors={"*sound*": 0.5}).build(nn.Linear(2, 2))


def test_a_role_without_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="requires a gradient"):
        AdamW(lr=1.0).build(nn.Linear(2, 2).requires_grad_(False))


def test_average_of_constant_weights_is_the_weights() -> None:
    network = nn.Linear(3, 3)
    average = EMA(network, decay=0.99)
    with torch.no_grad():
        network.weight.add_(1.0)
    for _ in range(5):
        average.update(network)
    assert torch.equal(average.averaged(network).weight, network.weight)


def test_average_lags_behind_moving_weights_and_keeps_single_precision() -> None:
    network = nn.Linear(1, 1).to(torch.bfloat16)
    average = EMA(network, decay=0.9)
    for value in range(200):
        with torch.no_grad():
            network.weight.fill_(value)
        average.update(network)
    assert average.shadow["weight"].dtype == torch.float32
    assert float(average.shadow["weight"]) == pytest.approx(199 - 0.9 / 0.1, rel=1e-3)
    assert network.weight.item() == 199


def test_a_role_that_was_never_updated_is_exported_as_it_is() -> None:
    roles = nn.ModuleDict({"student": nn.Linear(2, 2), "critic": nn.Linear(2, 2)})
    average = EMA(roles["student"], decay=0.9)
    with torch.no_grad():
        roles["student"].weight.fill_(5.0)
    made = averaged_roles(roles, {"student": average})
    assert made["critic"] is roles["critic"]
    assert made["student"] is not roles["student"]
    assert torch.equal(made["student"].weight, roles["student"].weight)
    assert not made["student"].training


def test_average_of_other_parameters_is_refused() -> None:
    average = EMA(nn.Linear(2, 2), decay=0.9)
    with pytest.raises(ValueError, match="other parameters"):
        average.load_state_dict({"updates": 1, "shadow": {"weight": torch.zeros(2, 2)}})


@pytest.mark.parametrize("settings", [AdamW(lr=1.0), AdamW(lr=1.0, lr_factors={"1.*": 0.5}), Muon(lr=1.0)])
@pytest.mark.parametrize("decay", [0.5, 0.0])
def test_going_on_keeps_moments_and_takes_new_settings(settings: AdamW, decay: float) -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    before = settings.build(network)
    network(torch.ones(1, 2)).square().mean().backward()
    before.step()
    stored = deepcopy(before.state_dict())
    now = replace(settings, lr=0.1, betas=(0.5, 0.6), eps=1e-3, weight_decay=decay)
    after, fresh = now.build(network), now.build(network)
    restore_moments(after, stored)
    now.set_lr(after, 0, 1)
    assert after.state_dict()["param_groups"] == fresh.state_dict()["param_groups"]
    assert {group["weight_decay"] for group in after.param_groups} <= {decay, 0.0}
    for parameter in network.parameters():
        old, new = before.state[parameter], after.state[parameter]
        assert all(torch.equal(torch.as_tensor(old[name]), torch.as_tensor(new[name])) for name in old | new)


def test_moments_of_other_groups_are_refused() -> None:
    network = nn.ModuleDict({"audio": nn.Linear(2, 2), "video": nn.Linear(2, 2)})
    stored = AdamW(lr=1.0).build(network).state_dict()
    other = AdamW(lr=1.0, lr_factors={"*audio*": 0.5}).build(network)
    with pytest.raises(
        ValueError, match=r"groups of \[2, 2\], this run's in groups of \[1, 1, 1, 1\]: keep lr_factors"
    ):
        restore_moments(other, stored)
