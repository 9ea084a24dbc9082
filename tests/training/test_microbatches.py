"""Micro-batches: equal parts of anything that is a batch, and errors that say what to choose."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avatar_lab.tensors import DyadBatch
from avatar_lab.training.fit import Fit
from avatar_lab.training.microbatches import split_batch
from tests.factory import random_batch


def test_parts_follow_each_other_and_make_up_the_batch() -> None:
    batch = random_batch(size=4)
    first, second = split_batch(batch, 2)
    assert isinstance(first, DyadBatch)
    assert first.size == second.size == 2
    assert torch.equal(torch.cat([first.video_BFHWC, second.video_BFHWC]), batch.video_BFHWC)
    assert torch.equal(second.anchor.voice_BNK, batch.anchor.voice_BNK[2:])
    assert split_batch(batch, 1)[0] is batch
    nested = split_batch({"x": torch.arange(6), "y": [torch.arange(12).reshape(6, 2)]}, 3)
    assert nested[1]["x"].tolist() == [2, 3]
    assert nested[1]["y"][0].tolist() == [[4, 5], [6, 7]]


def test_what_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="accumulate so that it divides"):
        split_batch(random_batch(size=4), 3)
    with pytest.raises(TypeError, match="accumulate=1"):
        split_batch({"path": Path("x")}, 2)
    with pytest.raises(ValueError, match="at least 1"):
        Fit(steps=1, optimizers={}, accumulate=0)
