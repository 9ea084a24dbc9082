"""Muon: orthogonal updates, convergence on an ill-conditioned problem, exact resume."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from avatar_lab.training.muon import WORTH_HALF, Muon, orthogonalise


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (16, 16)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, before, right = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalise(matrix)
    values = ((left.T @ result) * right).sum(1)  # in the same singular vectors
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert before.max() / before.min() > values.max() / values.min()


def test_fits_an_ill_conditioned_map() -> None:
    generator = torch.Generator().manual_seed(1)
    scales = torch.logspace(0, -2, 12)
    inputs = torch.randn(256, 12, generator=generator) * scales
    wanted = inputs @ torch.randn(12, 6, generator=generator) + 0.5
    torch.manual_seed(0)
    net = nn.Linear(12, 6)
    settings = Muon(lr=0.05, weight_decay=0.0)
    optimizer = settings.build(net)
    for step in range(300):
        loss = (net(inputs) - wanted).square().mean()
        loss.backward()
        settings.set_lr(optimizer, step, 300)
        optimizer.step()
        optimizer.zero_grad()
    start = (nn.Linear(12, 6)(inputs) - wanted).square().mean()
    assert loss < 0.01 * start


def test_resumes_bit_for_bit() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1))
    settings = Muon(lr=0.01)
    optimizer = settings.build(net)

    def train(model: nn.Module, opt: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(step))
            model(x).square().mean().backward()
            opt.step()
            opt.zero_grad()

    train(net, optimizer, range(3))
    other = deepcopy(net)
    again = settings.build(other)
    again.load_state_dict(deepcopy(optimizer.state_dict()))
    train(net, optimizer, range(3, 6))
    train(other, again, range(3, 6))
    assert all(a.equal(b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="lr_factors"):
        Muon(lr=0.1, lr_factors={"*": 0.5}).build(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="no parameter"):
        Muon(lr=0.1).build(nn.Linear(2, 2).requires_grad_(False))


def test_spared_matrices_get_adams_elementwise_steps() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False))
    before = [parameter.detach().clone() for parameter in net.parameters()]
    optimizer = Muon(lr=0.1, weight_decay=0.0, spared=("1.*",)).build(net)
    net(torch.randn(32, 6)).square().mean().backward()
    optimizer.step()
    first, second = (p.detach() - b for p, b in zip(net.parameters(), before, strict=True))
    assert (second.abs() - 0.1).abs().max() < 1e-3  # the first step of Adam is the sign of the gradient
    assert torch.linalg.svdvals(first).min() > 0.4 * torch.linalg.svdvals(first).max()  # orthogonalised


@pytest.mark.parametrize("size", [6, WORTH_HALF - 1, WORTH_HALF, 128])
def test_singular_values_come_near_one_in_whatever_precision_this_machine_picks(size: int) -> None:
    torch.manual_seed(size)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(3, size, 4 * size)))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_autocast_around_a_step_does_not_round_small_matrices() -> None:
    matrix = torch.randn(WORTH_HALF // 2, WORTH_HALF, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = orthogonalise(matrix)
    assert torch.equal(under_autocast, orthogonalise(matrix))
