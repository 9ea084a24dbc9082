"""Residual vector quantisation whose tables are moving averages of what they quantise.

Zeghidour et al. 2021 (SoundStream, arXiv:2107.03312), with the codebook update of van den Oord et al. 2017
(arXiv:1711.00937, appendix A.1), k-means start and replacement of dead entries. All of its memory is in buffers, so
that training resumes exactly.

    B  batch   A  tokens   K  codebooks   V  entries   D  width   N  vectors of a batch
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatar_lab.codebook import Codebook

_LLOYD_STEPS = 12


class ResidualVectorQuantizer(nn.Module):
    """Greedy residual quantiser over the tables of a :class:`Codebook`.

    Args:
        decay: of the moving averages, per update.
        dead_below: an entry used by fewer than this many vectors per batch, on average, is placed anew.
        warmup_updates: latents pass unquantised for so many updates; then k-means places the tables.
    """

    count_KV: Tensor
    total_KVD: Tensor
    updates: Tensor

    def __init__(
        self,
        *,
        num_codebooks: int,
        codebook_size: int,
        width: int,
        decay: float = 0.99,
        dead_below: float = 0.05,
        warmup_updates: int = 300,
    ) -> None:
        super().__init__()
        self.decay = decay
        self.dead_below = dead_below
        self.warmup_updates = warmup_updates
        halving_K11 = 0.5 ** torch.arange(num_codebooks)[:, None, None]
        self.codebook = Codebook(torch.randn(num_codebooks, codebook_size, width) * halving_K11)
        self.register_buffer("count_KV", torch.ones(num_codebooks, codebook_size))
        self.register_buffer("total_KVD", self.codebook.tables_KVD.clone())
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, latent_BAD: Tensor) -> Tensor:
        """Tokens (B, A, K), nearest entry by entry."""
        residual_BAD = latent_BAD
        tokens = []
        for table_VD in self.codebook.tables_KVD:
            token_BA = _nearest(residual_BAD, table_VD)
            residual_BAD = residual_BAD - table_VD[token_BA]
            tokens.append(token_BA)
        return torch.stack(tokens, dim=-1)

    def straight_through(self, latent_BAD: Tensor, depth_B: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the first ``depth_B`` codebooks with the gradient of the latent, and all tokens."""
        tokens_BAK = self(latent_BAD.detach())
        if self.updates <= self.warmup_updates:
            return latent_BAD, tokens_BAK
        books_K = torch.arange(self.codebook.num_codebooks, device=latent_BAD.device)
        rows_BAKD = self.codebook.tables_KVD[books_K, tokens_BAK]
        used_BK = (books_K < depth_B[:, None]).to(latent_BAD.dtype)
        sum_BAD = (rows_BAKD * used_BK[:, None, :, None]).sum(2)
        return latent_BAD + (sum_BAD - latent_BAD).detach(), tokens_BAK

    @torch.no_grad()
    def learn(self, latent_BAD: Tensor, rng: torch.Generator) -> None:
        """Move the tables towards the latents of one batch."""
        self.updates += 1
        residual_ND = latent_BAD.detach().flatten(0, -2)
        if self.updates < self.warmup_updates:
            return
        starting = bool(self.updates == self.warmup_updates)
        for book, table_VD in enumerate(self.codebook.tables_KVD):
            if starting:
                self._place_all(book, residual_ND, rng)
            token_N = _nearest(residual_ND, table_VD)
            residual_ND = residual_ND - self._average(book, residual_ND, token_N, rng)[token_N]

    def _average(self, book: int, residual_ND: Tensor, token_N: Tensor, rng: torch.Generator) -> Tensor:
        """One step of the moving averages; returns the table as it was for this batch."""
        table_VD, count_V, total_VD = self.codebook.tables_KVD[book], self.count_KV[book], self.total_KVD[book]
        before_VD = table_VD.clone()
        batch_V = torch.zeros_like(count_V).index_add_(0, token_N, torch.ones_like(residual_ND[:, 0]))
        count_V.lerp_(batch_V, 1 - self.decay)
        total_VD.lerp_(torch.zeros_like(total_VD).index_add_(0, token_N, residual_ND), 1 - self.decay)
        table_VD.copy_(total_VD / count_V[:, None].clamp(min=1e-6))
        dead_V = count_V < self.dead_below
        num_dead = int(dead_V.sum())
        if num_dead:
            error_N = (residual_ND - before_VD[token_N]).square().sum(-1)
            pick = _draw(error_N, num_dead, rng)
            table_VD[dead_V] = residual_ND[pick] + _jitter(residual_ND[pick], rng)
            count_V[dead_V] = 1.0
            total_VD[dead_V] = table_VD[dead_V]
        return before_VD

    def _place_all(self, book: int, residual_ND: Tensor, rng: torch.Generator) -> None:
        """K-means on one batch, started at vectors drawn by their squared length."""
        size = self.codebook.size
        pick = _draw(residual_ND.square().sum(-1), size, rng)
        table_VD = residual_ND[pick] + _jitter(residual_ND[pick], rng)
        for _ in range(_LLOYD_STEPS):
            token_N = _nearest(residual_ND, table_VD)
            count_V = torch.zeros(size, device=table_VD.device).index_add_(
                0, token_N, torch.ones_like(residual_ND[:, 0])
            )
            mean_VD = torch.zeros_like(table_VD).index_add_(0, token_N, residual_ND) / count_V[:, None].clamp(min=1)
            table_VD = torch.where(count_V[:, None] > 0, mean_VD, table_VD)
        self.codebook.tables_KVD[book] = table_VD
        self.count_KV[book] = 1.0
        self.total_KVD[book] = table_VD


def _nearest(vector_XD: Tensor, table_VD: Tensor) -> Tensor:
    distance_XV = table_VD.square().sum(-1) - 2 * vector_XD @ table_VD.T
    return distance_XV.argmin(-1)


def _draw(weight_N: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """Indices by weight, distinct where there are enough of them."""
    enough = int((weight_N > 0).sum()) >= num
    return torch.multinomial(weight_N.cpu() + 1e-12, num, replacement=not enough, generator=rng).to(weight_N.device)


def _jitter(vector_XD: Tensor, rng: torch.Generator) -> Tensor:
    """Tiny offsets, so that no two entries are equal."""
    return 1e-3 * torch.randn(vector_XD.shape, generator=rng).to(vector_XD)
