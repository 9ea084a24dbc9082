"""bfloat16 where the processor has instructions for it, fp32 where it would have to emulate them."""

from __future__ import annotations

import pytest
import torch

from avatar_lab.model.attention import attend
from avatar_lab.precision import fast_bfloat16, fast_products
from avatar_lab.training.fit import Machine


@pytest.mark.parametrize(
    ("abilities", "fast"),
    [({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_bf16": False}, False)],
)
def test_instructions_decide(abilities: dict[str, bool], fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert fast_bfloat16("cpu") is fast
    machine = Machine(accelerator="cpu", precision="auto")
    assert machine.lightning_precision() == ("bf16-mixed" if fast else "32-true")
    with fast_products("cpu"):
        product = torch.randn(4, 4) @ torch.randn(4, 4)
    assert product.dtype is (torch.bfloat16 if fast else torch.float32)


def test_a_precision_that_is_named_is_kept() -> None:
    assert Machine(accelerator="cpu", precision="32-true").lightning_precision() == "32-true"


def heads(tokens: int, seed: int) -> torch.Tensor:
    return torch.randn(2, 3, tokens, 8, generator=torch.Generator().manual_seed(seed)).bfloat16()


def test_attention_of_half_precision_agrees_with_single_forward_and_backward() -> None:
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        q, k, v = (heads(5, seed).to(dtype).detach().requires_grad_() for seed in range(3))
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            out = attend(q, k, v, mask)
        assert out.dtype is dtype
        out.backward(torch.ones_like(out))
        found.append([out.detach(), *(x.grad for x in (q, k, v) if x.grad is not None)])
    assert [len(tensors) for tensors in found] == [4, 4]
    for exact, half in zip(*found, strict=True):  # bfloat16 has 8 bits; these numbers are of order one
        assert torch.allclose(exact, half.float(), atol=0.04)


def test_attention_of_half_precision_ignores_what_is_hidden() -> None:
    q, k, v = heads(5, 1), heads(7, 2), heads(7, 3)
    mask = torch.ones(2, 1, 5, 7, dtype=torch.bool)
    mask[..., 4:] = False
    before = attend(q, k, v, mask)
    k[:, :, 4:], v[:, :, 4:] = 100, -100
    assert torch.equal(attend(q, k, v, mask), before)
