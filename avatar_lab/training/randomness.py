"""Randomness as a function of (seed, step, rank), so that a resumed run needs no memory of what was drawn before.

The generator handed to a stage is derived anew at every step. Global generators are seeded anew too: a dropout layer
or a library that draws from them stays exact across a resume. Their states are stored as plain values, as evidence.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch


def derived_seed(*parts: int | str) -> int:
    """63-bit seed from a hash of ``parts``; neighbouring steps give unrelated seeds."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def step_generator(*, seed: int, step: int, rank: int) -> torch.Generator:
    """Generator for everything a stage draws at ``step``; on the CPU, so that all devices draw the same numbers."""
    return torch.Generator().manual_seed(derived_seed("stage", seed, step, rank))


def seed_global_generators(*, seed: int, step: int, rank: int) -> None:
    """Put torch, numpy and python generators into the state that belongs to ``step``."""
    value = derived_seed("global", seed, step, rank)
    torch.manual_seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002 (third-party code draws from the global state)
    random.seed(value)


def generator_states() -> dict[str, Any]:
    """States of the global generators as tensors, lists and numbers, which a weights-only load accepts."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(internal), gauss],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, float(cached)],
    }


def restore_generator_states(states: dict[str, Any]) -> None:
    """Inverse of :func:`generator_states`; CUDA states are restored where the number of devices is the same."""
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
