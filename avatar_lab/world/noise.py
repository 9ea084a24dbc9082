"""Counter-based noise: every random number is a function of a seed and the name of what it is for.

Re-simulating a world with one event forced must draw the same numbers for everything else, so no draw may depend on
how many came before it. A name is hashed (BLAKE2b) to a uniform number, to an event id or to a generator of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

Name = str | int
_EVENT_ID_BITS = 48
"""Small enough to be exact in a float64 column, large enough that ids of one conversation never collide."""


@dataclass(frozen=True)
class Noise:
    """Noise of one conversation; ``scope`` is the hashed prefix of every name."""

    scope: str

    def within(self, *names: Name) -> Noise:
        """Noise of a part, independent of all other parts."""
        return Noise("/".join([self.scope, *map(str, names)]))

    def uniform(self, *names: Name) -> float:
        """A number in the open interval (0, 1)."""
        return (self._bits(names, 52) + 0.5) / 2**52

    def event_id(self, *names: Name) -> int:
        return self._bits(names, _EVENT_ID_BITS)

    def generator(self, *names: Name) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=self._bits(names, 128)))

    def _bits(self, names: tuple[Name, ...], count: int) -> int:
        digest = blake2b("/".join([self.scope, *map(str, names)]).encode(), digest_size=16).digest()
        return int.from_bytes(digest, "little") >> (128 - count)
