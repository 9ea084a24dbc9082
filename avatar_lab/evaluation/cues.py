"""When the user invited a reaction, and comparable moments when it did not.

A response is a contrast: what follows a cue minus what follows *matched* moments without one. A matched moment has the
same condition (who holds the floor), is at least ``GUARD_SECONDS`` away from every cue that invites the same behaviour,
so that no response to such a cue falls into its window, and is drawn with a seed that depends on the conversation only,
so that all agents are judged at identical times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatar_lab.event_types import Event, EventType

Times = NDArray[np.float64]

GUARD_SECONDS = 1.5
REST_SECONDS = 2.0
GRID_SECONDS = 0.05
CONTROLS_PER_CUE = 4


@dataclass(frozen=True, kw_only=True)
class CueKind:
    """A kind of user event that may invite a reaction.

    type              the cue, at the start of such an event
    also_invite       other user events after which the same behaviours may follow: no control near them
    listening         count it only while the user alone holds the floor, and has done so for the first and will do so
                      for the second number of seconds: vocal reactions next to the avatar's own turns are no reactions
                      by definition, so moments near turns would be no match for cues in mid-turn
    rested            the recorded avatar did none of these within ``REST_SECONDS`` before: the user's act is then no
                      answer to an act of the recorded avatar that the judged one never did, and no one is still tired
                      from the last time; matched moments obey the same rule
    """

    name: str
    type: EventType
    also_invite: tuple[EventType, ...] = ()
    listening: tuple[float, float] | None = None
    rested: tuple[EventType, ...] = ()


PAUSE = CueKind(name="pause", type=EventType.PAUSE, also_invite=(EventType.LOW_PITCH,), listening=(1.0, 2.3))
SMILE = CueKind(name="smile", type=EventType.SMILE, rested=(EventType.SMILE,))
BLINK = CueKind(name="blink", type=EventType.BLINK)
CUE_KINDS = (PAUSE, SMILE, BLINK)


@dataclass(frozen=True, kw_only=True)
class CueTimes:
    """Cues and matched no-cue moments of one conversation, in seconds."""

    cues_N: Times
    controls_M: Times


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Who holds the floor: spans (start, end) of the turns of user and avatar."""

    user: list[tuple[float, float]]
    avatar: list[tuple[float, float]]

    def condition(self, times_N: Times) -> NDArray[np.int64]:
        """0 nobody, 1 user, 2 avatar, 3 both."""
        return inside(times_N, self.user).astype(np.int64) + 2 * inside(times_N, self.avatar).astype(np.int64)


def inside(times_N: Times, spans: list[tuple[float, float]]) -> NDArray[np.bool_]:
    """Whether each time lies in one of the spans."""
    held_N = np.zeros(len(times_N), dtype=bool)
    for start, end in spans:
        held_N |= (times_N >= start) & (times_N < end)
    return held_N


def floor_of(events: list[Event], *, user: str, avatar: str) -> Floor:
    """Turn spans from an event table."""
    turns = [event for event in events if event.type is EventType.TURN]
    return Floor(
        user=[(event.start, event.end) for event in turns if event.side == user],
        avatar=[(event.start, event.end) for event in turns if event.side == avatar],
    )


def find_cues(
    events: list[Event], kind: CueKind, *, user: str, avatar: str, begin: float, end: float, seed: int
) -> CueTimes:
    """Cues of ``kind`` by the user in [begin, end) and their matched no-cue moments.

    Args:
        begin, end: usable stretch in seconds; leave room for the response window before the end of the recording.
        seed: draws the matched moments; must not depend on the agent.
    """
    floor = floor_of(events, user=user, avatar=avatar)
    cues_N = _starts(events, user, (kind.type,))
    cues_N = cues_N[(cues_N >= begin) & (cues_N < end)]
    grid_N = np.arange(begin, end, GRID_SECONDS)
    grid_N = grid_N[_distance(grid_N, _starts(events, user, (kind.type, *kind.also_invite))) >= GUARD_SECONDS]
    own_N = _starts(events, avatar, kind.rested)
    cues_N, grid_N = cues_N[~_recently(cues_N, own_N)], grid_N[~_recently(grid_N, own_N)]
    cue_condition_N, grid_condition_N = floor.condition(cues_N), floor.condition(grid_N)
    conditions: tuple[int, ...] = (0, 1, 2, 3)
    if kind.listening is not None:
        since, until = kind.listening
        held = [(start + since, stop - until) for start, stop in floor.user]
        cue_condition_N = np.where(inside(cues_N, held), cue_condition_N, 0)
        grid_condition_N = np.where(inside(grid_N, held), grid_condition_N, 0)
        conditions = (1,)
    rng = np.random.default_rng(seed)
    kept, controls = [], []
    for condition in conditions:
        matching_N = cues_N[cue_condition_N == condition]
        pool_N = grid_N[grid_condition_N == condition]
        kept.append(matching_N)
        size = min(len(pool_N), CONTROLS_PER_CUE * len(matching_N))
        controls.append(rng.choice(pool_N, size=size, replace=False) if size else np.zeros(0))
    return CueTimes(cues_N=np.sort(np.concatenate(kept)), controls_M=np.sort(np.concatenate(controls)))


def _starts(events: list[Event], side: str, types: tuple[EventType, ...]) -> Times:
    return np.array(sorted(e.start for e in events if e.side == side and e.type in types), dtype=np.float64)


def _recently(times_N: Times, marks_M: Times) -> NDArray[np.bool_]:
    """Whether a mark lies within ``REST_SECONDS`` before each time."""
    return np.searchsorted(marks_M, times_N, side="right") > np.searchsorted(marks_M, times_N - REST_SECONDS)


def _distance(times_N: Times, marks_M: Times) -> Times:
    """Distance of each time to the nearest mark (infinite without marks)."""
    if len(marks_M) == 0:
        return np.full(len(times_N), np.inf)
    right_N = np.searchsorted(marks_M, times_N).clip(0, len(marks_M) - 1)
    left_N = (right_N - 1).clip(0)
    return np.minimum(np.abs(times_N - marks_M[left_N]), np.abs(times_N - marks_M[right_N]))
