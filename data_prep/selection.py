"""Which part of the preparation one call does: a share of the recordings, the first so many steps, or both."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from avatar_lab.construct import nearest

log = logging.getLogger(__name__)
Item = TypeVar("Item")

STEPS = ("probe", "sync", "voice", "bleed", "track", "motion", "features", "events", "encode", "augment", "pictures")
"""In the order in which ``pipeline.py`` runs them; each may need those before it. ``OPTIONAL`` ones are passed over
where the configuration has none, or the recording nothing for them."""
OPTIONAL = ("motion", "features", "augment")
ANNOTATING = STEPS[: STEPS.index("encode")]
"""Steps that need no codec."""


class Enough(Exception):
    """The next step of a recording was not asked for."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """One of ``count`` parts of the recordings, or with ``index`` ``None`` all of them.

    Raises:
        ValueError: ``index`` is not one of 0 to ``count`` - 1.
    """

    index: int | None = None
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"array.count is {self.count}; give the number of tasks, at least 1")
        if self.index is not None and not 0 <= self.index < self.count:
            raise ValueError(
                f"array.index is {self.index}, but {self.count} tasks have index 0 to {self.count - 1}: set "
                "array.count to the number of tasks of the whole array, also where only some of them run again"
            )

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every ``count``-th item from ``index`` on: neighbours, often of one length, go to different tasks."""
        return items if self.index is None else items[self.index :: self.count]


def chosen_steps(steps: Sequence[str] | None, *, score_only: bool) -> frozenset[str] | None:
    """Names of the steps to run, ``None`` for all; a step brings along those before it.

    Raises:
        ValueError: a name is unknown, the list is empty, or both ways of choosing are used at once.
    """
    if score_only:
        if steps is not None:
            raise ValueError(f"score_only=true already chooses the steps {list(ANNOTATING)}: leave out steps=...")
        steps = ANNOTATING
    if steps is None:
        return None
    for name in steps:
        if name not in STEPS:
            raise ValueError(f"there is no step {name!r}{nearest(str(name), STEPS)}; there are {list(STEPS)}")
    if not steps:
        raise ValueError(f"steps=[] runs nothing: name some of {list(STEPS)}, or leave it out to run all")
    wanted = STEPS[: 1 + max(map(STEPS.index, steps))]
    if added := [name for name in wanted if name not in steps]:
        log.info("steps=%s brings along %s, which come before", list(steps), added)
    return None if wanted == STEPS else frozenset(wanted)
