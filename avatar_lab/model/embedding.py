"""From media tokens to model tokens and back: patches, noise levels, conditions, user features.

B batch   S blocks   N model tokens   D model width   A, F, K, V, H, W, C, T, U as in tensors.py
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from avatar_lab.codebook import Codebook
from avatar_lab.context import OwnAudio
from avatar_lab.model.video_head import MOTION
from avatar_lab.tensors import Anchor


class NoiseEmbedding(nn.Module):
    """Sinusoidal embedding of the noise level, and the six modulation vectors shared by all layers (as in Wan)."""

    def __init__(self, width: int, num_frequencies: int = 128) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        self.mlp = nn.Sequential(nn.Linear(2 * num_frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, sigma_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding (B, N, D) and modulation (B, N, 6, D)."""
        index = torch.arange(self.num_frequencies, device=sigma_BN.device, dtype=torch.float32)
        frequency = torch.exp(-math.log(10_000.0) * index / self.num_frequencies).to(sigma_BN.dtype)
        angle = 1000 * sigma_BN[..., None] * frequency
        embedded = self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1))
        return embedded, self.modulation(embedded).unflatten(-1, (6, -1))


class Patches(nn.Module):
    """Cuts a latent grid into square patches; each becomes one model token."""

    def __init__(self, grid: tuple[int, int, int], patch: int, width: int) -> None:
        super().__init__()
        rows, columns, channels = grid
        if rows % patch or columns % patch:
            raise ValueError(f"patch {patch} does not divide the latent grid {rows} x {columns}")
        self.patch, self.rows, self.columns = patch, rows // patch, columns // patch
        self.patch_width = patch * patch * channels
        self.embed = nn.Linear(self.patch_width, width)

    @property
    def per_latent(self) -> int:
        return self.rows * self.columns

    def split(self, x_BFHWC: Tensor) -> Tensor:
        """(B, F, tokens per latent, patch width)."""
        p = self.patch
        return rearrange(x_BFHWC, "b f (h p) (w q) c -> b f (h w) (p q c)", p=p, q=p)

    def join(self, x_BFNQ: Tensor) -> Tensor:
        """Inverse of :meth:`split`."""
        return rearrange(x_BFNQ, "b f (h w) (p q c) -> b f (h p) (w q) c", h=self.rows, p=self.patch, q=self.patch)


class Conditions(nn.Module):
    """Memory of the conditions' cross-attention: anchor picture, anchor voice and the script beyond the block.

    These keys carry no rotary phase: the anchor is outside time, and the look-ahead is told how far ahead it is.
    """

    def __init__(self, width: int, codebook: Codebook, patches: Patches, max_lookahead: int) -> None:
        super().__init__()
        self.codebook = codebook
        self.picture = nn.Linear(patches.patch_width, width)
        self.picture_place = nn.Parameter(0.02 * torch.randn(patches.per_latent, width))
        self.voice = nn.Linear(codebook.width, width)
        self.script = nn.Linear(codebook.width, width)
        self.script_state = nn.Embedding(len(OwnAudio), width)
        self.script_place = nn.Parameter(0.02 * torch.randn(max_lookahead, width))
        self._split = patches.split

    def anchor(self, anchor: Anchor) -> tuple[Tensor, Tensor]:
        """Features (B, M, D) and visibility (B, M) of the anchor."""
        picture = self.picture(self._split(anchor.picture_BHWC[:, None])[:, 0]) + self.picture_place
        voice = self.voice(self.codebook.embed(anchor.voice_BNK))
        features = torch.cat([picture, voice], dim=1)
        return features, anchor.present_B[:, None].expand(-1, features.shape[1])

    def lookahead(self, tokens_BSLK: Tensor, state_BSL: Tensor, length_B: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, S, L, D) and visibility (B, S, L) of each block's script look-ahead."""
        known = (state_BSL != OwnAudio.OPEN)[..., None]
        script = self.script(self.codebook.embed(tokens_BSLK)) * known
        features = script + self.script_state(state_BSL) + self.script_place
        steps = torch.arange(state_BSL.shape[-1], device=length_B.device)
        return features, (steps < length_B[:, None])[:, None].expand_as(state_BSL)


class UserFeatures(nn.Module):
    """Folds the newest few tokens of a user stream into one feature per token; strictly causal.

    Tokens that were absent are zero and flagged, so a gap is not mistaken for silence or for a still picture. With
    ``rest``, tokens are measured against the mean of the newest ``rest`` present ones: who the user is and where the
    camera stands is nearly all of a latent's variance, and what invites a reaction is a change. A smile is .4 % of the
    variance before and 7 % after, which decides whether the branch learns (experiments/LOG.md).
    """

    def __init__(self, token_width: int, width: int, stack: int, rest: int = 0) -> None:
        super().__init__()
        self.stack, self.rest = stack, rest
        self.mlp = nn.Sequential(nn.Linear(stack * (token_width + 1), width), nn.GELU("tanh"), nn.Linear(width, width))

    def forward(self, tokens_BTU: Tensor, present_BT: Tensor) -> Tensor:
        """(B, T, U) tokens to (B, T, D) features; a feature sees its own and the ``stack - 1`` tokens before it, and
        each of these is measured against it and the ``rest - 1`` before."""
        flag = present_BT[..., None].to(tokens_BTU.dtype)
        present = tokens_BTU.masked_fill(~present_BT[..., None], 0.0)
        if self.rest:
            present = (present - self._at_rest(present, flag)) * flag / MOTION
        marked = torch.cat([present, flag], dim=-1)
        padded = nn.functional.pad(marked, (0, 0, self.stack - 1, 0))
        return self.mlp(padded.unfold(1, self.stack, 1).flatten(2))

    def _at_rest(self, present_BTU: Tensor, flag_BT1: Tensor) -> Tensor:
        """Mean of the newest ``rest`` tokens that were there, as of each token."""

        def newest(x: Tensor) -> Tensor:
            padded = nn.functional.pad(x.mT, (self.rest - 1, 0))
            return nn.functional.avg_pool1d(padded, self.rest, stride=1).mT

        return newest(present_BTU) / newest(flag_BT1).clamp(min=1 / self.rest)
