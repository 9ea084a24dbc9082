"""A batch in equal parts, for steps whose activations would not fit at once.

Parts of a batch are what further ranks would get of it, in the same order, so that one rank with two parts takes the
step of two ranks with one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from avatar_lab.tensors import TensorRecord


def split_batch(batch: Any, parts: int) -> list[Any]:
    """``parts`` batches of equal size, cut along the first axis of every tensor.

    Raises:
        ValueError: the batch does not divide evenly.
        TypeError: it holds something that is no tensor.
    """
    return [batch] if parts == 1 else [_part(batch, number, parts) for number in range(parts)]


def _part(value: Any, number: int, parts: int) -> Any:
    if isinstance(value, Tensor):
        if len(value) % parts:
            raise ValueError(
                f"a batch of {len(value)} on this rank does not divide into {parts} micro-batches: choose "
                "training.accumulate so that it divides data.batch_size over the ranks"
            )
        size = len(value) // parts
        return value[number * size : (number + 1) * size]
    if isinstance(value, TensorRecord):
        return value.apply(lambda tensor: _part(tensor, number, parts))
    if isinstance(value, Mapping):
        return {key: _part(each, number, parts) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_part(each, number, parts) for each in value]
    raise TypeError(f"cannot divide a {type(value).__name__} of a batch into micro-batches: use training.accumulate=1")
