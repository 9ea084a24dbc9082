"""Fixed tables of a residual-VQ codec: how audio tokens become points of the flow and come back.

An audio token frame is a tuple (token_1 .. token_K); its clean value is the sum of one table row per codebook,
``clean = sum_k E_k[token_k]``. The mean of a sum is the sum of the means, so ``K`` independent softmax heads give the
exact posterior mean of ``clean`` even when codebooks depend on each other (the velocity field needs no more; cf. CDCD,
Dieleman et al. 2022, arXiv:2211.15089). Reading tokens out of independent heads is coherent only once the posterior
is sharp, hence the bound on the last step's noise level (``diffusion/sampler.py``).

What a noisy value itself says about its tokens is known in closed form (``log_likelihood``), so a network only adds
what it expects from everything else.

    K codebooks   V entries per codebook   D embedding width
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn

from avatar_lab.precision import exact_products

READING_NOISE = 0.1
"""Noise deviation added when reading, since expected values of earlier codebooks are never quite right: without it fine
codebooks are overconfident (experiments/LOG.md)."""


class Codebook(nn.Module):
    """Tables ``E`` of shape (K, V, D), the codec's output projections folded in and one scalar divided out.

    Raises:
        ValueError: two token tuples that differ in one or two codebooks have the same sum, so tokens could not be
            recovered from embeddings.
    """

    tables_KVD: Tensor

    def __init__(self, tables_KVD: Tensor) -> None:
        super().__init__()
        if tables_KVD.ndim != 3:
            raise ValueError(f"codebook tables must be (codebooks, entries, width), got {tuple(tables_KVD.shape)}")
        if tables_KVD.device.type != "meta":
            _refuse_colliding_sums(tables_KVD)
        self.register_buffer("tables_KVD", tables_KVD.clone())

    @property
    def num_codebooks(self) -> int:
        return self.tables_KVD.shape[0]

    @property
    def size(self) -> int:
        """Entries per codebook."""
        return self.tables_KVD.shape[1]

    @property
    def width(self) -> int:
        return self.tables_KVD.shape[2]

    def embed(self, tokens_K: Tensor) -> Tensor:
        """Token tuples (..., K) to their clean values (..., D)."""
        books_K = torch.arange(self.num_codebooks, device=tokens_K.device)
        return self.tables_KVD[books_K, tokens_K].sum(-2)

    def expected(self, logits_KV: Tensor) -> Tensor:
        """Posterior mean of the clean value, (..., K, V) logits to (..., D)."""
        return torch.einsum("...kv,kvd->...d", logits_KV.softmax(-1), self.tables_KVD)

    def log_likelihood(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """How well each entry explains a noisy value: (..., D) and noise level (...) to (..., K, V), up to a constant
        per codebook; the output prior of Plaid (Gulrajani and Hashimoto 2023, arXiv:2305.18619) for sums of codebooks.

        Read as residual VQ is: of ``noisy = (1 - sigma) sum_k E_k[token_k] + sigma noise`` each codebook sees what the
        ones before it leave, their expected values taken off; what is not known yet counts as Gaussian noise. Entries
        are equally likely beforehand; heads know better.
        """
        with exact_products(noisy.device.type):  # differences of large numbers
            keep = (1 - sigma)[..., None]
            centre_KD, spread_K = self.tables_KVD.mean(1), self.tables_KVD.var(1, correction=0).mean(-1)
            rest = noisy - keep * centre_KD.sum(0)
            unknown = keep**2 * spread_K.sum() + sigma[..., None] ** 2 + READING_NOISE**2
            logits = []
            for table_VD, centre_D, spread in zip(self.tables_KVD, centre_KD, spread_K, strict=True):
                entries_VD = table_VD - centre_D
                unknown = unknown - keep**2 * spread
                power_V = entries_VD.square().sum(-1)
                logits.append((keep * (rest @ entries_VD.mT) - keep**2 * power_V / 2) / unknown)
                chance_V = logits[-1].softmax(-1)
                mean_D = chance_V @ entries_VD
                variance = ((chance_V @ power_V)[..., None] - mean_D.square().sum(-1, keepdim=True)) / self.width
                rest, unknown = rest - keep * mean_D, unknown + keep**2 * variance.clamp(min=0)
            return torch.stack(logits, dim=-2)

    def snap(self, logits_KV: Tensor, uniform_KV: Tensor | None = None) -> Tensor:
        """Tokens (..., K) from logits: the argmax, or a sample by the Gumbel-max trick given uniforms in (0, 1)."""
        if uniform_KV is not None:
            logits_KV = logits_KV - torch.log(-torch.log(uniform_KV))
        return logits_KV.argmax(-1)


def _refuse_colliding_sums(tables_KVD: Tensor) -> None:
    """Look for equal rows and equal pairwise sums: project to a line, sort, and compare neighbours in full width."""
    tables = tables_KVD.detach().double().cpu()
    num, size, width = tables.shape
    direction = torch.randn(width, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    tolerance = 1e-6 * tables.abs().max().clamp(min=1e-12)
    for left, right in [(k, k) for k in range(num)] + list(combinations(range(num), 2)):
        if left == right:
            sums = tables[left]
        elif size * size <= 2**17:
            sums = (tables[left][:, None] + tables[right][None]).flatten(0, 1)
        else:  # 2048-entry tables: millions of sums; equal rows are the failure seen in practice
            continue
        order = (sums @ direction).argsort()
        gap = (sums[order[1:]] - sums[order[:-1]]).abs().amax(-1)
        if (gap < tolerance).any():
            where = f"codebook {left}" if left == right else f"codebooks {left} and {right}"
            raise ValueError(
                f"{where}: different tokens have the same embedding sum, so tokens cannot be read back; "
                "train the codec with fewer entries or drop the unused ones"
            )
