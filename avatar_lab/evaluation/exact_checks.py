"""Promises that hold to the bit or not at all, on real checkpoints: what all such checks share.

They need no statistics: one difference in one block of one conversation refutes them. Each check also has to be able to
fail, so an input that must matter is shown to matter. F1, strict enhancement, is in ``fallback``; C1, honest causality,
in ``causality``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avatar_lab.evaluation.generate import Generated
from avatar_lab.layout import Stream
from avatar_lab.level import Level
from avatar_lab.tensors import DyadBatch

OF_LEVEL = {Level.LISTEN: Stream.USER_AUDIO, Level.SEE: Stream.USER_VIDEO}
"""What a level perceives beyond the one below it."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check. ``differences`` says where it failed; ``vacuous``: what should have mattered did not, so that equality
    proves nothing."""

    question: str
    compared: int
    differences: tuple[str, ...]
    vacuous: str | None = None

    @property
    def passed(self) -> bool:
        return not self.differences


def names_of(batch: DyadBatch) -> list[str]:
    """One per conversation."""
    return [str(int(sample)) for sample in batch.sample_B]


def unlike(left: Generated, right: Generated, names: Sequence[str]) -> list[str]:
    """Conversations of which not all is equal to the bit."""
    pairs = zip(left.digests(), right.digests(), names, strict=True)
    return [f"conversation {name}" for one, two, name in pairs if one != two]
