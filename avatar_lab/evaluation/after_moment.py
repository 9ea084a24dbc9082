"""What an avatar does in the window of responses right after the moment of an intervention, and how soon.

Seconds of media time throughout; ``None`` where a unit does not determine it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from avatar_lab.evaluation.outcomes import CONTROL, Pair, Seen, Trial
from avatar_lab.evaluation.responses import WINDOW
from avatar_lab.event_types import EventType
from avatar_lab.events.segments import Segment, merge_close

HOLDING_SILENCE = 1.0
"""Who is silent for longer has stopped; a shorter silence is a pause in what is still being said."""


@dataclass(frozen=True, kw_only=True)
class Happening(ABC):
    """Base of what does or does not happen in the window: a pair of 0 or 1."""

    unit: str = "probability"

    @abstractmethod
    def wait(self, seen: Seen, time: float) -> float | None:
        """Seconds from ``time`` until it first happens in the window; ``None``: it does not."""

    def determined(self, control: Seen, time: float) -> bool:
        """Whether it could happen at all, as the control arm shows."""
        return True

    def pair(self, trial: Trial, arm: str) -> Pair | None:
        control, time = trial.arms[CONTROL], trial.unit.time
        if not self.determined(control, time):
            return None
        return float(self.wait(control, time) is not None), float(self.wait(trial.arms[arm], time) is not None)


@dataclass(frozen=True, kw_only=True)
class Occurs(Happening):
    """One of some behaviours begins."""

    behaviours: tuple[EventType, ...]

    def wait(self, seen: Seen, time: float) -> float | None:
        onsets_N = seen.observation.onsets(self.behaviours)
        inside_N = onsets_N[(onsets_N >= time + WINDOW[0]) & (onsets_N < time + WINDOW[1])]
        return float(inside_N[0]) - time if len(inside_N) else None


@dataclass(frozen=True, kw_only=True)
class Stops(Happening):
    """The avatar, which speaks at the moment, falls silent before the window ends, and stays so.

    It says nothing where the control arm does not speak at the moment, nor of those whose script decides how long they
    do (``Question.free``).
    """

    def wait(self, seen: Seen, time: float) -> float | None:
        begun = _begun(seen, time)
        if begun is None or begun[1] >= time + WINDOW[1]:
            return None
        return max(begun[1] - time, 0.0)  # 0: the pause that it was in became its end

    def determined(self, control: Seen, time: float) -> bool:
        begun = _begun(control, time)
        return begun is not None and begun[1] > time


def _begun(seen: Seen, time: float) -> Segment | None:
    """The last stretch of own speech, pauses included, that began before ``time``."""
    held = merge_close(seen.observation.speech, min_gap=HOLDING_SILENCE)
    return next((stretch for stretch in reversed(held) if stretch[0] < time), None)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds from the moment, which is what the control stands for, to what happens in the treated arm alone.

    The world's law shows as the oracle's row, through the same window at the same moments; a model adds its input delay
    and half a block. Answers that the window cuts off are in neither.
    """

    of: Happening
    unit: str = "s"

    def pair(self, trial: Trial, arm: str) -> Pair | None:
        wait = self.of.wait(trial.arms[arm], trial.unit.time)
        return (0.0, wait) if wait is not None and self.of.pair(trial, arm) == (0.0, 1.0) else None
