"""Shifts and holds: mutual silences of which it is plain who spoke before and who speaks after.

The moments at which models of turn-taking are asked who comes next (Ekstedt & Skantze 2022, Voice Activity Projection,
arXiv:2205.09812; the lengths are those of the authors' published event rules). A silence of both counts if one person
alone spoke for a while before it and one person alone speaks for a while after it; backchannels, overlaps and false
starts nearby thereby rule it out. It is a *shift* if these are two people, a *hold* if they are one. Pauses inside that
speech do not interrupt it.

Unlike ``turns.py`` this says nothing of most silences and needs no notion of a floor, so that counts compare between
corpora and models.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from avatar_lab.events.segments import Segment, merge_close

_TOUCH = 1e-6
"""Seconds; speech that touches leaves no silence between it."""


class Outcome(StrEnum):
    """Who speaks after a mutual silence."""

    SHIFT = "shift"
    HOLD = "hold"


@dataclass(frozen=True, kw_only=True)
class ShiftRule:
    """Which silences count; seconds."""

    min_context: float = 3.0
    """Of the recording before the silence: what a model must have heard."""
    min_silence: float = 0.25
    """Of both; nothing is asked in shorter ones."""
    alone_before: float = 1.0
    """Speech of one person, with the other silent, up to the silence."""
    alone_after: float = 1.0
    """The same from its end on."""
    min_speech: float = 0.0
    """Shorter activity is taken for a click and for silence; 0 believes all of it."""
    long_onset: float = 1.0
    """Activity after a shift that lasts so long, without a pause, is the onset of a long utterance."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f"shifts: {name} is {value}; seconds are not negative")


@dataclass(frozen=True, kw_only=True)
class SilentMoment:
    """A mutual silence, ``start`` to ``end``, after which ``side`` speaks."""

    outcome: Outcome
    side: str
    start: float
    end: float
    long: bool
    """Whether what ``side`` says then is long from the start, which is asked at onsets of shifts (against backchannels,
    ``reactions.py``)."""


def find_shifts(speech: Mapping[str, Sequence[Segment]], rule: ShiftRule | None = None) -> list[SilentMoment]:
    """Shifts and holds in the voice activity of two sides (sorted, disjoint segments in seconds), in order of time."""
    rule = rule or ShiftRule()
    if len(speech) != 2:
        raise ValueError(f"shifts are between two people, got voice activity of {sorted(speech)}")
    active = {
        side: [
            (start, end)
            for start, end in merge_close(list(found), min_gap=2 * _TOUCH)
            if end - start >= rule.min_speech
        ]
        for side, found in speech.items()
    }
    silences = list(_silences(active))
    # what one person says with pauses in which the other is silent too is one stretch of activity
    filled = {
        side: _Cover([*own, *((start, end) for start, end, left, right in silences if left == right == side)])
        for side, own in active.items()
    }
    raw = {side: _Cover(own) for side, own in active.items()}
    found = []
    for start, end, left, right in silences:
        if start < rule.min_context - _TOUCH or end - start < rule.min_silence - _TOUCH:
            continue
        if _alone(filled, left, start - rule.alone_before, start) and _alone(
            filled, right, end, end + rule.alone_after
        ):
            found.append(
                SilentMoment(
                    outcome=Outcome.HOLD if left == right else Outcome.SHIFT,
                    side=right,
                    start=start,
                    end=end,
                    long=raw[right].covers(end, end + rule.long_onset),
                )
            )
    return found


def _silences(active: Mapping[str, list[Segment]]) -> list[tuple[float, float, str, str]]:
    """Mutual silences between speech: start, end, and who spoke last and who speaks next, where that is one person."""
    edges = {side: ({end for _, end in own}, {start for start, _ in own}) for side, own in active.items()}
    merged = merge_close([segment for own in active.values() for segment in own], min_gap=2 * _TOUCH)
    found = []
    for (_, start), (end, _) in pairwise(merged):
        last = [side for side, (ends, _) in edges.items() if start in ends]
        first = [side for side, (_, starts) in edges.items() if end in starts]
        if len(last) == len(first) == 1:
            found.append((start, end, last[0], first[0]))
    return found


class _Cover:
    """Stretches covered by segments, to be asked about."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._merged = merge_close(list(segments), min_gap=2 * _TOUCH)
        self._starts = [start for start, _ in self._merged]

    def covers(self, start: float, end: float) -> bool:
        """All of ``start`` to ``end``."""
        index = bisect_right(self._starts, start + _TOUCH) - 1
        return index >= 0 and self._merged[index][1] >= end - _TOUCH

    def touches(self, start: float, end: float) -> bool:
        """Any of ``start`` to ``end``."""
        index = bisect_right(self._starts, end - _TOUCH) - 1
        return index >= 0 and self._merged[index][1] > start + _TOUCH


def _alone(cover: Mapping[str, _Cover], side: str, start: float, end: float) -> bool:
    """Whether ``side``, and nobody else, is active from ``start`` to ``end``."""
    return all(each.covers(start, end) if who == side else not each.touches(start, end) for who, each in cover.items())
