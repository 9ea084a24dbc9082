"""A person of the world: a face, a voice and a temperament, all drawn from one seed.

The seed ranges below are the only place that says who is held out: no seed of a training person is ever the seed of a
held-out one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

from avatar_lab.event_types import EventType
from avatar_lab.world.appearance import Appearance
from avatar_lab.world.noise import Noise
from avatar_lab.world.voice import Voice

TRAINING_PEOPLE = range(0, 10**9)
HELD_OUT_PEOPLE = range(10**9, 2 * 10**9)


@dataclass(frozen=True, kw_only=True)
class Temperament:
    """Factors on the average person; 1 everywhere is average."""

    talkativeness: float
    """Factor on the length of turns."""
    rate: Mapping[EventType, float]
    """Factor on the spontaneous rate of each behaviour."""
    responsiveness: Mapping[EventType, float]
    """Factor on the probability of each response."""
    expressiveness: float
    """Factor on the strength of nods and smiles."""
    tempo: float = 1.0
    """Factor on the silence before one's turns; slow people also wait for the end more often."""

    @classmethod
    def sample(cls, noise: Noise) -> Temperament:
        def between(low: float, high: float, *names: str) -> float:
            return low + (high - low) * noise.uniform(*names)

        lively = (EventType.BACKCHANNEL, EventType.NOD, EventType.SMILE, EventType.LAUGH)
        rate = {kind: between(0.7, 1.3, "rate", kind) for kind in lively}
        # blink rates of people are about lognormal (Bentivoglio 1997)
        rate[EventType.BLINK] = exp(between(-0.45, 0.45, "rate", EventType.BLINK))
        return cls(
            talkativeness=between(0.85, 1.15, "talkativeness"),
            rate=rate,
            responsiveness={kind: between(0.88, 1.12, "responsiveness", kind) for kind in lively},
            expressiveness=between(0.88, 1.15, "expressiveness"),
        )


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who someone is; everything they do over time lies in events and tracks."""

    seed: int
    appearance: Appearance
    voice: Voice
    temperament: Temperament

    @property
    def name(self) -> str:
        """Identifier of the participant, the same in every conversation."""
        return f"person{self.seed:010d}"

    @property
    def held_out(self) -> bool:
        return self.seed in HELD_OUT_PEOPLE

    @classmethod
    def sample(cls, seed: int) -> Person:
        """The person of ``seed``.

        Raises:
            ValueError: ``seed`` lies in neither range of people.
        """
        if seed not in TRAINING_PEOPLE and seed not in HELD_OUT_PEOPLE:
            raise ValueError(f"no person has seed {seed}; take one from {TRAINING_PEOPLE} or {HELD_OUT_PEOPLE}")
        noise = Noise(f"person{seed}")
        return cls(
            seed=seed,
            appearance=Appearance.sample(noise.generator("appearance")),
            voice=Voice.sample(noise.generator("voice")),
            temperament=Temperament.sample(noise.within("temperament")),
        )
