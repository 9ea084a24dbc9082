"""The residual quantiser learns its tables from what it sees, keeps all entries in use, and resumes exactly."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from avatar_lab.codebook import Codebook
from avatar_lab.codec.vector_quantizer import ResidualVectorQuantizer


def quantizer(warmup_updates: int = 1) -> ResidualVectorQuantizer:
    torch.manual_seed(0)
    return ResidualVectorQuantizer(num_codebooks=2, codebook_size=16, width=4, decay=0.8, warmup_updates=warmup_updates)


def latents(step: int) -> Tensor:
    """Points around eight centres, half of them at one place as silence is."""
    centres = 2 * torch.randn(8, 4, generator=torch.Generator().manual_seed(7))
    rng = torch.Generator().manual_seed(step)
    points = centres[torch.randint(0, 8, (4, 32), generator=rng)] + 0.3 * torch.randn(4, 32, 4, generator=rng)
    points[:, :16] = centres[0]
    return points


def error(net: ResidualVectorQuantizer, points: Tensor) -> float:
    return float((net.codebook.embed(net(points)) - points).square().mean())


def learn(net: ResidualVectorQuantizer, first: int, last: int) -> None:
    for step in range(first, last):
        net.learn(latents(step), torch.Generator().manual_seed(step))


def test_learning_lowers_the_error_and_uses_the_entries() -> None:
    net = quantizer()
    before = error(net, latents(100))
    learn(net, 0, 30)
    points = torch.cat([latents(step) for step in range(100, 110)])
    assert error(net, points) < 0.02 < before
    assert len(net(points)[..., 0].unique()) >= 8
    Codebook(net.codebook.tables_KVD)
    assert error(net, latents(0)[:, :1]) < 1e-4, "the frequent point has an entry of its own"


def test_six_updates_are_three_and_resume_and_three() -> None:
    whole, half = quantizer(), quantizer()
    learn(whole, 0, 6)
    learn(half, 0, 3)
    resumed = quantizer()
    resumed.load_state_dict(deepcopy(half.state_dict()))
    learn(resumed, 3, 6)
    assert all(torch.equal(resumed.state_dict()[name], value) for name, value in whole.state_dict().items())


def test_gradient_passes_straight_through_and_depth_selects_codebooks() -> None:
    net = quantizer()
    learn(net, 0, 5)
    points = latents(200).requires_grad_()
    embedded, tokens = net.straight_through(points, torch.tensor([1, 2, 1, 2]))
    embedded.sum().backward()
    assert torch.equal(points.grad, torch.ones_like(points))
    assert torch.allclose(embedded[0], net.codebook.tables_KVD[0, tokens[0, :, 0]], atol=1e-6)
    assert torch.allclose(embedded[1], net.codebook.embed(tokens[1]), atol=1e-6)


@pytest.mark.parametrize("updates", [0, 2, 3])
def test_latents_pass_unquantised_during_warm_up(updates: int) -> None:
    net = quantizer(warmup_updates=3)
    learn(net, 0, updates)
    points = latents(300)
    embedded, _ = net.straight_through(points, torch.full((4,), 2))
    assert torch.equal(embedded, points)
