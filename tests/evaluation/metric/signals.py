"""Signals with known statistics for the tests of metrics."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from scipy.signal import lfilter

from avatar_lab.evaluation.metric.undefined import Array, Undefined

RATE = 25.0
Result = TypeVar("Result")


def ar1(num: int, *, seed: int, memory: float = 0.95, dims: int = 1) -> Array:
    """First-order autoregression of unit variance, (T, D)."""
    rng = np.random.default_rng(seed)
    noise_TD = rng.normal(size=(num + 500, dims)) * np.sqrt(1 - memory**2)
    return lfilter([1.0], [1.0, -memory], noise_TD, axis=0)[500:]


def reason(result: object) -> str:
    """The reason of what must be undefined."""
    assert isinstance(result, Undefined), result
    return result.reason


def defined(result: Result | Undefined) -> Result:
    """A result that must be defined."""
    assert not isinstance(result, Undefined), result
    return result
