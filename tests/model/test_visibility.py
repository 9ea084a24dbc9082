"""Masks that are compiled for GPUs say what dense ones say."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from avatar_lab.model import attention, visibility
from avatar_lab.model.attention import attend
from avatar_lab.model.visibility import Role, avatar_mask
from tests.factory import LAYOUT


@pytest.fixture(autouse=True)
def _fresh_masks() -> Iterator[None]:
    avatar_mask.cache_clear()
    yield
    avatar_mask.cache_clear()


def compare(role: Role, *, all_ask: bool, patch: pytest.MonkeyPatch) -> None:
    """Attention under both masks; more blocks than are remembered, and more keys than one tile of a kernel has. On the
    CPU, where FlexAttention has no backward pass."""
    shape = {"num_blocks": LAYOUT.history_blocks + 3, "tokens_per_block": 12, "history": True, "all_ask": all_ask}

    def mask() -> torch.Tensor | BlockMask | None:
        avatar_mask.cache_clear()
        return avatar_mask(LAYOUT, role, device=torch.device("cpu"), **shape)

    dense = mask()
    patch.setattr(visibility, "_compiles", lambda _device: True)
    compiled = mask()
    assert isinstance(dense, torch.Tensor)
    assert isinstance(compiled, BlockMask)
    assert dense.shape[1] > 128
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, n, 16, generator=rng) for n in (dense.shape[0], dense.shape[1], dense.shape[1]))
    assert torch.allclose(attend(q, k, v, compiled), attend(q, k, v, dense), atol=1e-5)


@pytest.mark.parametrize("all_ask", [True, False])
@pytest.mark.parametrize("role", list(Role))
def test_block_masks_are_the_dense_ones(role: Role, all_ask: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_compiled_flex", lambda: flex_attention)
    compare(role, all_ask=all_ask, patch=monkeypatch)


@pytest.mark.ci
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on CPUs")
def test_the_compiler_takes_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    compare(Role.CAUSAL, all_ask=True, patch=monkeypatch)
