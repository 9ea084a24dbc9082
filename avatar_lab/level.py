"""What a checkpoint can do: talk, listen, see. Each level contains the one below it, bit for bit."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """Capability of a checkpoint. ``presence`` (tensors.py) says which user streams are there at a given moment."""

    TALK = 1
    """Driven by its own audio only."""
    LISTEN = 2
    """Also perceives the user's audio."""
    SEE = 3
    """Also perceives the user's camera."""

    @property
    def listens(self) -> bool:
        return self >= Level.LISTEN

    @property
    def sees(self) -> bool:
        return self >= Level.SEE
