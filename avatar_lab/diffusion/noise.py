"""Counter-based Gaussian noise: a function of (seed, conversation, block, step, modality), never of a global state.

Two runs that share a conversation's key share its noise whatever else is in the batch, which is what makes paired
comparisons, camera toggles and exact resume possible. The counter is hashed by the finaliser of SplitMix64 (Steele et
al. 2014) and mapped to normals by Box and Muller (1958).
"""

from __future__ import annotations

import math
from enum import IntEnum

import torch
from torch import Tensor


class Draw(IntEnum):
    """What a number is drawn for; keeps the streams apart."""

    AUDIO = 0
    VIDEO = 1
    TOKENS = 2


_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's is arithmetic)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX1
    x = (x ^ _shift(x, 27)) * _MIX2
    return x ^ _shift(x, 31)


def counter_uniform(
    shape: tuple[int, ...], *, seed: int, conversation_B: Tensor, block: int, step: int, draw: Draw, lane: int = 0
) -> Tensor:
    """Uniforms in (0, 1), float64 of shape (B, *shape)."""
    key_B = _mix(conversation_B.long() * _GOLDEN + seed)
    for part in (block, step, int(draw), lane):
        key_B = _mix(key_B * _GOLDEN + part + 1)
    index_N = torch.arange(math.prod(shape), device=conversation_B.device)
    bits_BN = _mix(_mix(key_B)[:, None] + index_N * _GOLDEN)
    return ((_shift(bits_BN, 11).double() + 0.5) / 2**53).reshape(-1, *shape)


def counter_normal(
    shape: tuple[int, ...],
    *,
    seed: int,
    conversation_B: Tensor,
    block: int,
    step: int,
    draw: Draw,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normals of shape (B, *shape)."""
    radial, angular = (
        counter_uniform(shape, seed=seed, conversation_B=conversation_B, block=block, step=step, draw=draw, lane=lane)
        for lane in range(2)
    )
    return ((-2 * radial.log()).sqrt() * torch.cos(2 * math.pi * angular)).to(dtype)
