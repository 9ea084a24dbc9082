"""The one place that picks an attention kernel.

SDPA everywhere, in single precision on CPUs, where the backward pass of half precision takes 2.5 times as long;
FlexAttention when a compiled block mask is given (CUDA training: it has no CPU backward); flash-attn,
when installed, for the unmasked cached rollout on CUDA.

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
    if mask is None and q_BHNC.is_cuda and half and (flash := _flash_attention()) is not None:
        q, k, v = (x.to(q_BHNC.dtype).transpose(1, 2) for x in (q_BHNC, k_BHMC, v_BHMC))
        return flash(q, k, v).transpose(1, 2)
    if half and q_BHNC.device.type == "cpu":
        with torch.autocast("cpu", enabled=False):
            single = F.scaled_dot_product_attention(q_BHNC.float(), k_BHMC.float(), v_BHMC.float(), attn_mask=mask)
        return single.to(q_BHNC.dtype)
    return F.scaled_dot_product_attention(q_BHNC, k_BHMC, v_BHMC, attn_mask=mask)
