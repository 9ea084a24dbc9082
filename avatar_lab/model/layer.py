"""One layer of the transformer: self-attention, conditions, the listen and see branches, feed-forward.

Shapes, norms and modulation of the video path follow Wan's DiT (Wan Team 2025, arXiv:2503.20314), so that its weights
map one to one: RMS norm of queries and keys over the full width, six modulation vectors per token, an affine norm
before cross-attention.

    B batch   N avatar tokens   M keys   D model width   H heads   C head width
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avatar_lab.model.attention import Mask, attend
from avatar_lab.model.memory import Source, Sources
from avatar_lab.model.rotary import rotate


@dataclass(frozen=True, kw_only=True)
class KeyValues:
    """Projected keys and values of a cross-attention, ready for any number of queries."""

    k_BHMC: Tensor
    v_BHMC: Tensor
    mask: Tensor
    """(B, 1, N, M) bool."""


class SelfAttention(nn.Module):
    """Self-attention whose keys can be kept unrotated, so that a cache never depends on absolute time."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)

    def project(self, x_BND: Tensor, speaking: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the tokens ``speaking``, keys (both normed, not rotated) and values of all, each (B, H, N, C)."""
        q, k, v = self.norm_q(self.q(x_BND[:, speaking])), self.norm_k(self.k(x_BND)), self.v(x_BND)
        return tuple(rearrange(t, "b n (h c) -> b h n c", h=self.num_heads) for t in (q, k, v))

    def output(self, heads_BHNC: Tensor) -> Tensor:
        return self.o(rearrange(heads_BHNC, "b h n c -> b n (h c)"))


class CrossAttention(nn.Module):
    """Cross-attention with one sink: an always visible zero key (logit 0 whatever the rotation) of zero value.

    With nothing else visible the softmax puts weight 1 on the sink and the output is exactly 0 (there is no output
    bias), so a stream that is absent changes no bit of what the rest computes.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.o = nn.Linear(width, width, bias=False)
        self.norm_q, self.norm_k = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)

    def project(self, features_BMD: Tensor, rotation_MP2: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, M, C) of memory features; ``rotation`` gives keys a place in time."""
        k = self._heads(self.norm_k(self.k(features_BMD)))
        return (k if rotation_MP2 is None else rotate(k, rotation_MP2)), self._heads(self.v(features_BMD))

    def with_sink(self, k_BHMC: Tensor, v_BHMC: Tensor, visible_BNM: Tensor) -> KeyValues:
        """The sink before all other keys, and before all of the mask."""
        return KeyValues(
            k_BHMC=F.pad(k_BHMC, (0, 0, 1, 0)),
            v_BHMC=F.pad(v_BHMC, (0, 0, 1, 0)),
            mask=F.pad(visible_BNM, (1, 0), value=True)[:, None],
        )

    def forward(self, x_BND: Tensor, keys: KeyValues, rotation_NP2: Tensor | None = None) -> Tensor:
        q = self._heads(self.norm_q(self.q(x_BND)))
        if rotation_NP2 is not None:
            q = rotate(q, rotation_NP2)
        return self.o(rearrange(attend(q, keys.k_BHMC, keys.v_BHMC, keys.mask), "b h n c -> b n (h c)"))

    def _heads(self, x_BND: Tensor) -> Tensor:
        return rearrange(x_BND, "b n (h c) -> b h n c", h=self.num_heads)


class Branch(nn.Module):
    """A gated cross-attention to one user stream: what turns a level into the next. The gate starts at zero."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = CrossAttention(width, num_heads)
        self.gate_D = nn.Parameter(torch.zeros(width))

    def forward(self, x_BND: Tensor, keys: KeyValues, rotation_NP2: Tensor) -> Tensor:
        return x_BND + self.gate_D * self.attention(self.norm(x_BND), keys, rotation_NP2)


@dataclass(frozen=True, kw_only=True)
class LayerMemory:
    """What one layer attends to besides its own tokens; a branch without keys is skipped."""

    conditions: KeyValues
    listen: KeyValues | None = None
    see: KeyValues | None = None


class Layer(nn.Module):
    """Transformer layer. Branches exist up to the network's level."""

    def __init__(self, width: int, num_heads: int, hidden: int, *, listens: bool, sees: bool) -> None:
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.randn(6, width) / width**0.5)
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attention = SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.conditions = CrossAttention(width, num_heads)
        self.listen = Branch(width, num_heads) if listens else None
        self.see = Branch(width, num_heads) if sees else None
        self.norm3 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.GELU("tanh"), nn.Linear(hidden, width))

    def forward(
        self,
        x_BND: Tensor,
        modulation_BN6D: Tensor,
        rotation_NP2: Tensor,
        memory: LayerMemory,
        *,
        past: tuple[Tensor, Tensor] | None = None,
        mask: Mask = None,
        num_speaking: int | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """New tokens, and this layer's own keys (unrotated) and values for the cache.

        past          rotated keys and values of earlier blocks, (B, H, M, C) each
        num_speaking  only so many last tokens are wanted, which ``memory`` and ``mask`` are about: in the last layer
                      the others are looked at, and nothing looks at what would become of them; ``None``: all
        """
        num_tokens = x_BND.shape[1]
        speaking = slice(0 if num_speaking is None else num_tokens - num_speaking, None)
        shift1, scale1, gate1, shift3, scale3, gate3 = (modulation_BN6D + self.scale_shift_table).unbind(2)
        q, k, v = self.attention.project(torch.addcmul(shift1, self.norm1(x_BND), 1 + scale1), speaking)
        if num_speaking == 0:
            return x_BND[:, speaking], (k, v)
        x_BND, rotation_of_speaking = x_BND[:, speaking], rotation_NP2[speaking]
        gate1, shift3, scale3, gate3 = (part[:, speaking] for part in (gate1, shift3, scale3, gate3))
        q, k_here = rotate(q, rotation_of_speaking), rotate(k, rotation_NP2)
        keys, values = (k_here, v) if past is None else (torch.cat([past[0], k_here], 2), torch.cat([past[1], v], 2))
        x_BND = torch.addcmul(x_BND, gate1, self.attention.output(attend(q, keys, values, mask)))
        x_BND = x_BND + self.conditions(self.norm2(x_BND), memory.conditions)
        if self.listen is not None and memory.listen is not None:
            x_BND = self.listen(x_BND, memory.listen, rotation_of_speaking)
        if self.see is not None and memory.see is not None:
            x_BND = self.see(x_BND, memory.see, rotation_of_speaking)
        x_BND = torch.addcmul(x_BND, gate3, self.feed_forward(torch.addcmul(shift3, self.norm3(x_BND), 1 + scale3)))
        return x_BND, (k, v)


def project(layer: Layer, sources: Sources, anchor: tuple[Tensor, Tensor, Tensor] | None = None) -> LayerMemory:
    """Keys and values of all sources in one layer; ``anchor`` (keys, values, visibility) was projected before."""
    source = sources.conditions
    k, v = layer.conditions.project(source.features_BMD)
    visible = source.visible_BNM
    if anchor is not None:
        k, v = torch.cat([anchor[0], k], dim=2), torch.cat([anchor[1], v], dim=2)
        visible = torch.cat([anchor[2][:, None].expand(-1, visible.shape[1], -1), visible], dim=2)

    def branch(part: Branch | None, source: Source | None) -> KeyValues | None:
        if part is None or source is None:
            return None
        projected = part.attention.project(source.features_BMD, source.rotation_MP2)
        return part.attention.with_sink(*projected, source.visible_BNM)

    return LayerMemory(
        conditions=layer.conditions.with_sink(k, v, visible),
        listen=branch(layer.listen, sources.listen),
        see=branch(layer.see, sources.see),
    )
