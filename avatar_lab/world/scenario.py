"""Kinds of conversation: who speaks how much, and how formal it is.

Side ``a`` stands for the avatar and ``b`` for its user; a recording says so, and either may be taken for the avatar in
training. In role-play the user (a seller, a candidate) speaks most of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ScenarioName(StrEnum):
    CASUAL = "casual"
    SALES_ROLEPLAY = "sales_roleplay"
    INTERVIEW = "interview"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Factors on the calibrated world."""

    name: ScenarioName
    roles: tuple[str, str]
    """What sides ``a`` and ``b`` are."""
    turn_length: tuple[float, float] = (1.0, 1.0)
    """Factor on the length of the turns of either side."""
    overlap: float = 1.0
    """Factor on the probability of starting before the other has ended, and of interrupting."""
    cheer: float = 1.0
    """Factor on the rates of smiles and laughs."""


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(name=ScenarioName.CASUAL, roles=("friend", "friend")),
        Scenario(
            name=ScenarioName.SALES_ROLEPLAY,
            roles=("customer", "seller"),
            turn_length=(0.55, 1.6),
            overlap=0.9,
            cheer=0.8,
        ),
        Scenario(
            name=ScenarioName.INTERVIEW,
            roles=("interviewer", "candidate"),
            turn_length=(0.5, 1.45),
            overlap=0.55,
            cheer=0.6,
        ),
    )
}
