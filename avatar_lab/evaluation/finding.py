"""A metric of one agent in one conversation before it becomes a row: a number, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from avatar_lab.evaluation.metric.undefined import Undefined

Record = TypeVar("Record")


@dataclass(frozen=True)
class Missing(Undefined):
    """No number, because weights or a package are not here: the row is ``unavailable``."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One metric; ``n`` is how many frames, events or moments it rests on."""

    metric: str
    value: float | Undefined
    n: int


def finding(
    metric: str,
    found: Record | Undefined,
    value: Callable[[Record], float | Undefined],
    n: Callable[[Record], int] | int,
) -> Finding:
    """One number out of what a metric returned; ``n`` is read from it, or known beforehand."""
    if isinstance(found, Undefined):
        return Finding(metric=metric, value=found, n=n if isinstance(n, int) else 0)
    return Finding(metric=metric, value=value(found), n=n if isinstance(n, int) else n(found))
