"""Tokens through the flow: independent heads, dependent codebooks, one ODE (design section 4)."""

from __future__ import annotations

import torch
from scipy.stats import chisquare
from torch import Tensor

from avatar_lab.codebook import Codebook
from avatar_lab.diffusion.sampler import Estimate, Observed, Sampler, denoise
from avatar_lab.diffusion.warp import Warp, Warps
from avatar_lab.layout import Layout
from avatar_lab.tensors import AVState, NoiseLevels

# Two codebooks of three entries whose joint distribution is far from the product of its marginals.
JOINT_VV = torch.tensor([[0.30, 0.02, 0.01], [0.02, 0.25, 0.05], [0.03, 0.02, 0.30]], dtype=torch.double)
LAYOUT = Layout()


def codebook() -> Codebook:
    return Codebook(2.0 * torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.double))


def posterior(book: Codebook, noisy_ND: Tensor, sigma: float) -> Tensor:
    """Exact p(token pair | noisy), (N, V, V), under the path noisy = (1 - sigma) clean + sigma noise."""
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    clean_PD = book.embed(pairs)
    distance_NP = (noisy_ND[:, None] - (1 - sigma) * clean_PD).square().sum(-1) / (2 * sigma**2)
    return (JOINT_VV.flatten().log() - distance_NP).softmax(-1).unflatten(-1, (3, 3))


def marginal_logits(joint_NVV: Tensor) -> Tensor:
    """What independent heads can say: logits of each codebook's marginal, (N, 2, V)."""
    return torch.stack([joint_NVV.sum(2), joint_NVV.sum(1)], dim=1).clamp(min=1e-300).log()


def test_expected_embedding_of_the_marginals_is_the_exact_posterior_mean() -> None:
    book = codebook()
    noisy = torch.randn(50, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    joint = posterior(book, noisy, 0.6)
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    mean = joint.flatten(1) @ book.embed(pairs)
    torch.testing.assert_close(book.expected(marginal_logits(joint)), mean, atol=1e-12, rtol=0)


def test_snap_returns_the_tokens_of_an_embedding() -> None:
    book = codebook()
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    sharp = posterior(book, 0.98 * book.embed(pairs), 0.02)
    assert torch.equal(book.snap(marginal_logits(sharp)), pairs)


def test_ode_with_independent_heads_recovers_the_joint_distribution() -> None:
    """chi-square over the nine pairs; the product of marginals, as a check of power, is rejected."""
    book, size = codebook(), 4000
    rng = torch.Generator().manual_seed(1)
    per_block = LAYOUT.audio_per_block
    start = torch.randn(size // per_block, per_block, 4, generator=rng, dtype=torch.double)
    video = torch.zeros(size // per_block, LAYOUT.latents_per_block, 1, 1, 1, dtype=torch.double)
    observed = Observed(values_BAD=torch.zeros_like(start), mask_BA=torch.zeros(start.shape[:2], dtype=torch.bool))

    def predict(noisy: AVState, levels: NoiseLevels) -> Estimate:
        sigma = float(levels.audio_BA[0, 0])
        logits = marginal_logits(posterior(book, noisy.audio_BAD.flatten(0, 1), sigma))
        logits = logits.unflatten(0, start.shape[:2])
        return Estimate(
            clean=AVState(audio_BAD=book.expected(logits), video_BFHWC=noisy.video_BFHWC), logits_BAKV=logits
        )

    noise = AVState(audio_BAD=start, video_BFHWC=video)
    warps = Warps(audio=Warp(), video=Warp()).double()
    done = denoise(predict, lambda _step: noise, observed, sampler=Sampler.ode(100), warps=warps, layout=LAYOUT)
    tokens = book.snap(done.logits_BAKV).flatten(0, 1)
    counts = torch.zeros(3, 3, dtype=torch.double)
    counts.index_put_((tokens[:, 0], tokens[:, 1]), torch.ones(size, dtype=torch.double), accumulate=True)
    assert chisquare(counts.flatten().numpy(), size * JOINT_VV.flatten().numpy()).pvalue > 0.01
    product = torch.outer(JOINT_VV.sum(1), JOINT_VV.sum(0))
    assert chisquare(counts.flatten().numpy(), size * product.flatten().numpy()).pvalue < 1e-6
