"""The one place that picks an attention kernel.

SDPA everywhere but in half precision on CPUs, where plain products beat its fused kernel; FlexAttention when a compiled
block mask is given (CUDA training: it has no CPU backward); flash-attn, when installed, for the unmasked cached rollout
on CUDA.

    B batch   H heads   N queries   M keys   C head width
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

Mask = Tensor | BlockMask | None
"""Dense bool (broadcastable to B, H, N, M; True = visible), a FlexAttention block mask, or everything visible."""


@cache
def _flash_attention() -> Any | None:
    return import_module("flash_attn").flash_attn_func if find_spec("flash_attn") else None


@cache
def _compiled_flex() -> Any:
    return torch.compile(flex_attention)


def attend(q_BHNC: Tensor, k_BHMC: Tensor, v_BHMC: Tensor, mask: Mask = None) -> Tensor:
    """Scaled dot-product attention, (B, H, N, C). Every query must see at least one key."""
    if isinstance(mask, BlockMask):
        return _compiled_flex()(q_BHNC, k_BHMC, v_BHMC, block_mask=mask)
    half = q_BHNC.dtype in (torch.float16, torch.bfloat16)
    autocast = q_BHNC.is_cuda and torch.is_autocast_enabled("cuda")  # under which norms return fp32
    if mask is None and q_BHNC.is_cuda and (half or autocast) and (flash := _flash_attention()) is not None:
        dtype = torch.get_autocast_dtype("cuda") if autocast else q_BHNC.dtype
        q, k, v = (x.to(dtype).transpose(1, 2) for x in (q_BHNC, k_BHMC, v_BHMC))
        return flash(q, k, v).transpose(1, 2)
    if half and q_BHNC.device.type == "cpu":
        return _by_products(q_BHNC, k_BHMC, v_BHMC, mask)
    return F.scaled_dot_product_attention(q_BHNC, k_BHMC, v_BHMC, attn_mask=mask)


def _by_products(q_BHNC: Tensor, k_BHMC: Tensor, v_BHMC: Tensor, mask: Tensor | None) -> Tensor:
    """Attention written out, logits and weights in half precision too: on the 240 keys of a training window 1.7 times
    as fast, forward and backward, as SDPA in single precision."""
    logits_BHNM = (q_BHNC * q_BHNC.shape[-1] ** -0.5) @ k_BHMC.mT
    if mask is not None:
        hidden = torch.zeros(mask.shape, dtype=logits_BHNM.dtype).masked_fill_(~mask, float("-inf"))
        logits_BHNM = logits_BHNM + hidden
    return logits_BHNM.softmax(-1).to(v_BHMC.dtype) @ v_BHMC
