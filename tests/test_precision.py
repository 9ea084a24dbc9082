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


def test_attention_of_half_precision_is_taken_in_single_precision_on_cpus() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 5, 8, generator=generator).bfloat16() for _ in range(3))
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    exact = attend(q.float(), k.float(), v.float(), mask)
    with torch.autocast("cpu", torch.bfloat16):
        half = attend(q, k, v, mask)
    assert half.dtype is torch.bfloat16
    assert torch.equal(half, exact.bfloat16())
