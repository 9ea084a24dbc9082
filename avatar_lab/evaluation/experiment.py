"""What an intervention is: arms that differ in one thing, questions about them, and what the answers must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from avatar_lab.evaluation.outcomes import Outcome
from avatar_lab.evaluation.pooled_outcomes import Placement, Shift
from avatar_lab.evaluation.treatments import Treatment
from avatar_lab.evaluation.units import Occasion
from avatar_lab.event_types import EventType
from avatar_lab.level import Level

TREATED = "treated"


class Expected(StrEnum):
    """What must come of a treatment, if the avatar does what its level says."""

    INCREASES = "increases"
    DECREASES = "decreases"
    UNCHANGED = "unchanged"
    BIT_EXACT = "bit_exact"
    MOVES = "moves"
    """By as much as the cue does."""
    NOT_INFERIOR = "not_inferior"
    REPORTED = "reported"


@dataclass(frozen=True, kw_only=True)
class Question:
    """One thing that is looked at.

    edge     (cue, response) of the world that the expectation rests on; where the world has no such edge, nothing may
             change. ``None``: it rests on none
    free     it is about the floor, so that it is asked only of those who decide themselves when to speak: of the others
             a script decides it
    margin   of "unchanged", in the outcome's unit; of "not inferior", as a share of the control
    planned  effect that the test should find, for its power
    largest  effect that any one dyad can show; ``None``: not bounded
    """

    name: str
    outcome: Outcome | Shift | Placement
    expected: Expected
    arm: str = TREATED
    edge: tuple[EventType, EventType] | None = None
    free: bool = False
    margin: float = 0.05
    planned: float = 0.3
    largest: float | None = 1.0


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One intervention: arms that differ from the control in one thing, and questions about them.

    needs     the lowest level that can perceive the difference; below it the output must be the same to the bit
    occasion  where an event is done; ``None``: a whole stream is changed from a fixed moment on
    reseeded  also roll out the control with other noise from the moment on
    """

    name: str
    about: str
    needs: Level
    arms: Mapping[str, Treatment]
    questions: tuple[Question, ...]
    occasion: Occasion | None = None
    reseeded: bool = False
