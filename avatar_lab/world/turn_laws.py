"""How long turns, phrases and pauses are: the laws from which :mod:`turns` plans what a holder of the floor does.

``QUICKSTART`` keeps cues far apart and away from turn ends, so that every reaction can be told from every other.
``HUMAN`` follows the telephone conversations of Switchboard (turn median 4.4 s, pause median .41 s, p90 1.0 s): pauses
come in any length, turns announce their end, and some pauses are filled. The next speaker starts into a closing whose
length is the listener's reaction time plus the overlap, or after the end (see ``calibrated``).
"""

from __future__ import annotations

from dataclasses import dataclass

from avatar_lab.world.law import Law


@dataclass(frozen=True, kw_only=True)
class Hesitations:
    """Filled pauses ("uhm")."""

    share: float
    """Of the pauses."""
    filler: Law
    """Length of the sound, which ends where the pause begins."""
    pause: Law
    """The silence that follows."""


@dataclass(frozen=True, kw_only=True)
class TurnLaws:
    """All in seconds."""

    length: Law
    first_cue: Law
    """From the start of the turn to the first low pitch."""
    next_cue: Law
    """From the end of one cue to the low pitch of the next."""
    low_pitch: Law
    pause: Law
    last_cue: float
    """Least time from the onset of a cue to the end of the turn."""
    share_without_pause: float
    """Share of low pitches that lead into no pause."""
    share_without_low_pitch: float = 0.0
    """Share of pauses that nothing in the pitch announces."""
    closing: Law | None = None
    """The last stretch of a turn, from which its end can be projected."""
    hesitations: Hesitations | None = None
    lapse: Law
    """Silence after which the partner speaks although no edge made it."""
    opening: Law
    """Silence before the first turn."""


QUICKSTART = TurnLaws(
    length=Law(centre=7.8, spread=0.33, low=3.4, high=17.0, lognormal=True),
    first_cue=Law(centre=1.9, spread=0.4, low=1.4, high=2.8),
    next_cue=Law(centre=2.7, spread=0.7, low=2.3, high=4.8),
    low_pitch=Law(centre=0.25, spread=0.06, low=0.15, high=0.35),
    pause=Law(centre=0.55, spread=0.22, low=0.35, high=0.9, lognormal=True),
    last_cue=2.3,
    share_without_pause=0.15,
    lapse=Law(centre=2.2, spread=0.25, low=1.4, high=4.0, lognormal=True),
    opening=Law(centre=0.6, spread=0.2, low=0.3, high=1.2),
)

HUMAN = TurnLaws(
    length=Law(centre=2.9, spread=1.42, low=1.1, high=120.0, lognormal=True),
    first_cue=Law(centre=1.5, spread=0.5, low=0.6, high=5.0, lognormal=True),
    next_cue=Law(centre=1.45, spread=0.5, low=0.8, high=8.0, lognormal=True),
    low_pitch=Law(centre=0.25, spread=0.06, low=0.15, high=0.35),
    pause=Law(centre=0.375, spread=0.7, low=0.05, high=2.5, lognormal=True),
    last_cue=0.7,
    share_without_pause=0.12,
    share_without_low_pitch=0.4,
    closing=Law(centre=0.64, spread=1.08, low=0.32, high=9.0, lognormal=True),
    hesitations=Hesitations(
        share=0.12,
        filler=Law(centre=0.4, spread=0.08, low=0.28, high=0.6),
        pause=Law(centre=0.95, spread=0.25, low=0.6, high=1.8, lognormal=True),
    ),
    lapse=Law(centre=1.6, spread=0.4, low=0.8, high=4.0, lognormal=True),
    opening=Law(centre=0.6, spread=0.2, low=0.3, high=1.2),
)
