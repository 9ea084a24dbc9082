"""Distribution matching in one dimension, with known answers, and the size of its gradient."""

from __future__ import annotations

import torch

from avatar_lab.objective.score_difference import dmd_gradient, dmd_loss


def posterior_mean(noisy: torch.Tensor, sigma: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """E[clean | noisy] for clean ~ N(mean, std^2), noisy = (1 - sigma) clean + sigma noise."""
    gain = (1 - sigma) * std**2 / ((1 - sigma) ** 2 * std**2 + sigma**2)
    return mean + gain * (noisy - (1 - sigma) * mean)


def distil(sign: float) -> tuple[float, float]:
    """Match x = a + b z to N(2, 0.5^2) with the exact critic of the generator's own distribution."""
    rng = torch.Generator().manual_seed(0)
    a, b = torch.tensor(0.0, requires_grad=True), torch.tensor(1.5, requires_grad=True)
    optimizer = torch.optim.Adam([a, b], lr=0.02)
    generated = torch.ones(512, 1, dtype=torch.bool)
    for _ in range(800):
        x = (a + b * torch.randn(512, 1, generator=rng))[..., None]
        sigma = 0.02 + 0.96 * torch.rand(512, 1, 1, generator=rng)
        with torch.no_grad():
            noisy = (1 - sigma) * x + sigma * torch.randn(x.shape, generator=rng)
            fake = posterior_mean(noisy, sigma, float(a.detach()), float(b.detach().abs()))
            real = posterior_mean(noisy, sigma, 2.0, 0.5)
            # One scale for the batch: the per-sample scale of a scalar sample would be the sample's own error.
            gradient = sign * (fake - real) / (x - real).abs().mean()
        optimizer.zero_grad()
        dmd_loss(x, gradient, generated).mean().backward()
        optimizer.step()
    return float(a.detach()), float(b.detach().abs())


def test_dmd_recovers_mean_and_spread_of_a_gaussian() -> None:
    mean, std = distil(+1.0)
    assert abs(mean - 2.0) < 0.1
    assert abs(std - 0.5) < 0.1


def test_the_wrong_sign_fails() -> None:
    mean, std = distil(-1.0)
    assert abs(mean - 2.0) > 1 or abs(std - 0.5) > 1


def test_gradient_is_normalised_per_sample_over_generated_tokens_only() -> None:
    rng = torch.Generator().manual_seed(0)
    fake, real, clean = (torch.randn(3, 4, 2, generator=rng) for _ in range(3))
    generated = torch.tensor([[True] * 4, [True, False, False, False], [False] * 4])
    gradient = dmd_gradient(fake, real, clean, generated)
    expected = (fake[1, 0] - real[1, 0]) / (clean[1, 0] - real[1, 0]).abs().mean()
    torch.testing.assert_close(gradient[1, 0], expected)
    assert torch.equal(gradient[1, 1:], torch.zeros(3, 2))
    assert torch.equal(gradient[2], torch.zeros(4, 2))
    assert torch.equal(dmd_loss(clean, gradient, generated)[2], torch.tensor(0.0))


def test_parts_of_a_window_are_normalised_by_themselves() -> None:
    rng = torch.Generator().manual_seed(0)
    fake, real, clean = (torch.randn(2, 6, 3, generator=rng) for _ in range(3))
    generated = torch.rand(2, 6, generator=rng) < 0.7
    gradient = dmd_gradient(fake, real, clean, generated, parts=3)
    for i in (0, 2, 4):
        alone = dmd_gradient(*(x[:, i : i + 2] for x in (fake, real, clean, generated)))
        assert torch.equal(gradient[:, i : i + 2], alone)
