"""How the conformance suite compares: exactly, or up to the rounding of single precision.

The length of a piece decides in which order a convolution or a product adds up, so sound may differ by ``SOUND`` of
full scale, latents by ``LATENT`` standard deviations, and frames by ``LEVELS`` of 255. Tokens are compared exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

SOUND = 2e-4
LATENT = 1e-4
LEVELS = 1

Run = Callable[[Tensor, Any], tuple[Tensor, Any]]


def streamed(run: Run, whole: Tensor, chunks: Sequence[int], *, unit: int) -> Tensor:
    """``whole`` (B, units, ...) through ``run`` in pieces of ``chunks`` tokens or latents."""
    state, parts = None, []
    for piece in whole.split([unit * chunk for chunk in chunks], dim=1):
        part, state = run(piece, state)
        parts.append(part)
    return torch.cat(parts, dim=1)


def assert_close(left: Tensor, right: Tensor, tolerance: float) -> None:
    assert left.shape == right.shape
    assert apart(left, right) <= tolerance


def apart(left: Tensor, right: Tensor) -> float:
    return float((left.double() - right.double()).abs().max())
