"""How dyads and persons differ: random effects on rates, reactivity, talkativeness and tempo.

A factor is ``exp(dyad spread x z_dyad + person spread x z_person)`` with standard normal z. Who sets the tempo of a
conversation is first of all the dyad, then the person (floor transfers in Fisher, arXiv:2505.24736), so the first
spread is the larger one throughout. Blink rates are the person's alone, and lognormal (Bentivoglio 1997).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp
from statistics import NormalDist

from avatar_lab.event_types import EventType
from avatar_lab.world.noise import Noise
from avatar_lab.world.person import Person, Temperament

_NORMAL = NormalDist()
_TYPES = (
    *(EventType.BACKCHANNEL, EventType.LAUGH, EventType.NOD, EventType.SMILE, EventType.LEAN, EventType.LIVELY),
    *(EventType.GAZE_AWAY, EventType.HAND_RAISE, EventType.INTERRUPTION, EventType.BRIEF_INTERRUPTION),
    *(EventType.YIELD, EventType.PAUSE),
)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviations of a logarithm."""

    dyad: float
    person: float

    def factor(self, dyad: Noise, person: Noise, *names: str) -> float:
        return exp(self.dyad * _normal(dyad, *names) + self.person * _normal(person, *names))


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Spreads of what differs, and what a role in the scenario does to the length of turns."""

    talkativeness: Spread = Spread(dyad=0.22, person=0.15)
    tempo: Spread = Spread(dyad=0.35, person=0.12)
    rate: Spread = Spread(dyad=0.25, person=0.2)
    reactivity: Spread = Spread(dyad=0.2, person=0.12)
    blink: Spread = Spread(dyad=0.0, person=0.29)
    role_length: tuple[tuple[str, float], ...] = ()
    """(side, factor on the length of its turns)."""

    def temperament(self, person: Person, conversation: Noise, side: str) -> Temperament:
        """What ``person`` is like in this conversation, as ``side``."""
        dyad, own = conversation.within("dyad"), Noise(f"person{person.seed}").within("effects")
        rate = {kind: self.rate.factor(dyad, own, "rate", kind) for kind in _TYPES}
        rate[EventType.BLINK] = self.blink.factor(dyad, own, "blink")
        return replace(
            person.temperament,
            talkativeness=self.talkativeness.factor(dyad, own, "talkativeness") * dict(self.role_length).get(side, 1.0),
            rate=rate,
            responsiveness={kind: self.reactivity.factor(dyad, own, "reactivity", kind) for kind in _TYPES},
            tempo=self.tempo.factor(dyad, own, "tempo"),
        )


def _normal(noise: Noise, *names: str) -> float:
    return _NORMAL.inv_cdf(noise.uniform(*names))
