"""All causality is here: who may look at what. Dense masks and FlexAttention masks come from the same predicates.

A window holds ``S`` blocks of avatar tokens. In teacher forcing it appears twice, as clean ``HISTORY`` and as noisy
``CURRENT`` tokens. The predicates are written on integer tensors, so that they broadcast to a dense mask and also serve
as FlexAttention's ``mask_mod``.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from avatar_lab.layout import Layout, Stream


class Role(Enum):
    """How the avatar's own tokens see each other."""

    BIDIRECTIONAL = "bidirectional"
    """All of the window: the teacher. The user is time-masked all the same."""
    CAUSAL = "causal"
    """Own block and the clean history before it: autoregressive model, student, critic, cache writes."""


HISTORY, CURRENT = 0, 1
"""Parts of a window; plain numbers, since to the compiler of masks a tensor never equals a member of an ``Enum``."""


def avatar_visible(
    layout: Layout, role: Role, q_part: Tensor, q_block: Tensor, k_part: Tensor, k_block: Tensor
) -> Tensor:
    """May avatar token q attend to avatar token k? Broadcasts.

    History reaches ``layout.history_blocks`` back from the query's block, as in the cache. A clean token sees its own
    block; a noisy one sees its own noisy block and only clean blocks strictly before it.
    """
    if role is Role.BIDIRECTIONAL:
        return (q_part == k_part) & (k_block >= 0)
    age = q_block - k_block
    from_history = (k_part == HISTORY) & (age <= layout.history_blocks) & (age >= (q_part == CURRENT).long())
    return from_history | ((q_part == CURRENT) & (k_part == CURRENT) & (age == 0))


def user_visible(layout: Layout, stream: Stream, q_block: Tensor, k_index: Tensor) -> Tensor:
    """May a token of block ``q_block`` attend to user token ``k_index`` (0 = start of the window)? Broadcasts.

    This is ``Layout.visible_end`` and ``visible_span`` as a predicate; it holds in every network, the teacher included.
    """
    end = q_block * layout.per_block(stream) - layout.delay_tokens(stream)
    return (k_index < end) & (k_index >= end - layout.visible_span(stream))


@lru_cache(maxsize=32)
def avatar_mask(
    layout: Layout,
    role: Role,
    *,
    num_blocks: int,
    tokens_per_block: int,
    history: bool,
    all_ask: bool,
    device: torch.device,
) -> Tensor | BlockMask | None:
    """Self-attention mask of a window: dense (queries, keys), compiled on CUDA, or None where all is visible. Made once
    for windows of one shape: compiling it for every step of a training run would cost more than using it.

    history  the keys begin with as many clean tokens; with ``all_ask`` the queries do so too, else only noisy ones ask
    """
    if role is Role.BIDIRECTIONAL and not history:
        return None
    with torch.inference_mode(False):  # a mask first asked for by an evaluation serves the training after it
        block_N = torch.arange(num_blocks, device=device).repeat_interleave(tokens_per_block)
        size, part_N = len(block_N), torch.full_like(block_N, CURRENT)
        if history:
            block_N, part_N = torch.cat([block_N, block_N]), torch.cat([torch.full_like(part_N, HISTORY), part_N])
        first = 0 if all_ask else len(part_N) - size
        if not _compiles(device):
            return avatar_visible(
                layout, role, part_N[first:, None], block_N[first:, None], part_N[None], block_N[None]
            )

        def mask_mod(_b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return avatar_visible(layout, role, part_N[q + first], block_N[q + first], part_N[k], block_N[k])

        asked, keys = len(part_N) - first, len(part_N)
        return create_block_mask(mask_mod, B=None, H=None, Q_LEN=asked, KV_LEN=keys, device=device)


def _compiles(device: torch.device) -> bool:
    return device.type == "cuda"


def user_mask(layout: Layout, stream: Stream, on_BS: Tensor, present_BT: Tensor) -> Tensor:
    """(B, S, T): block sees token, given that the stream is on in that block and was on at that token."""
    device = on_BS.device
    q_block = torch.arange(on_BS.shape[1], device=device)[:, None]
    k_index = torch.arange(present_BT.shape[1], device=device) - layout.lead_tokens(stream)
    return user_visible(layout, stream, q_block, k_index) & on_BS[..., None] & present_BT[:, None]
