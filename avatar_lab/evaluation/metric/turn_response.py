"""Does the avatar take its turn, leave the user's pauses alone, and stop when it is interrupted?

The measures of Full-Duplex-Bench (Lin et al. 2025, arXiv:2503.04721) from voice activity alone, with latencies that
keep their sign: an answer that begins before the user has ended is early, not immediate. Take-over and latency at the
ends of turns are properties of a *free* avatar; of one that reads a script, its script decides them.

Speech is given as inter-pausal units (IPUs), sorted and disjoint, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar_lab.evaluation.metric.undefined import Array, Undefined
from avatar_lab.events.segments import Segment

MIN_TURN = 1.0
"""Seconds; what is shorter is a reaction, no turn (Full-Duplex-Bench)."""
EARLIEST, LATEST = -1.0, 3.0
"""Seconds around the end of a user's turn in which a turn of the avatar answers it; a tenth of people's turns start
more than a second early (``human.py``)."""
STOP_WITHIN = 1.5


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Probability over so many moments."""

    value: float
    moments: int


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds from the end of the user's turn to the avatar's answer, negative before it, where there is one."""

    median: float
    p95: float
    answers: int
    moments: int


@dataclass(frozen=True, kw_only=True)
class Yielding:
    """How often the avatar stops within 1.5 s of the user's beginning, and the median seconds it then takes."""

    rate: float
    stop_latency: float | Undefined
    moments: int


def take_over_rate(own_ipus: Sequence[Segment], moments: Sequence[Segment], *, seconds: float) -> Rate | Undefined:
    """TOR: share of ``moments`` in which the avatar begins an IPU of at least one second.

    Higher is better where moments are ``answer_moments`` (ends of turns), lower where they are the user's pauses.
    Moments that begin while the avatar speaks, or so near to the end of the conversation of ``seconds`` that a turn
    would be cut off, tell nothing and are left out. Undefined where none is left.
    """
    used = [
        (start, end) for start, end in moments if end + MIN_TURN <= seconds and _speaking_at(own_ipus, start) is None
    ]
    if not used:
        return Undefined("no moment at which the avatar could take the turn")
    turns = [start for start, end in own_ipus if end - start >= MIN_TURN]
    taken = sum(any(start <= turn < end for turn in turns) for start, end in used)
    return Rate(value=taken / len(used), moments=len(used))


def answer_moments(user_turn_ends_N: Array, user_ipus: Sequence[Segment]) -> list[Segment]:
    """For every end of a user's turn, the stretch in which a turn of the avatar answers it: at most up to the user's
    next word."""
    nexts = np.array(sorted(start for start, _ in user_ipus))
    found = []
    for end in user_turn_ends_N.tolist():
        later = nexts[nexts > end + 1e-6]
        found.append((end + EARLIEST, min(end + LATEST, float(later[0]) if len(later) else np.inf)))
    return found


def response_latency(
    own_ipus: Sequence[Segment], user_turn_ends_N: Array, user_ipus: Sequence[Segment]
) -> Latency | Undefined:
    """Signed latency of the first turn of the avatar that begins in each of the ``answer_moments``; nearest to people's
    (median 90 ms) is best. Undefined where no end got an answer."""
    turns = np.array([start for start, end in own_ipus if end - start >= MIN_TURN])
    found = []
    for end, (first, last) in zip(user_turn_ends_N.tolist(), answer_moments(user_turn_ends_N, user_ipus), strict=True):
        answers = turns[(turns >= first) & (turns < last)]
        found += [answers[0] - end] if len(answers) else []
    if not found:
        return Undefined(f"none of {len(user_turn_ends_N)} ends of turns is answered")
    return Latency(
        median=float(np.median(found)),
        p95=float(np.percentile(found, 95)),
        answers=len(found),
        moments=len(user_turn_ends_N),
    )


def yielding(own_ipus: Sequence[Segment], user_speech: Sequence[Segment], *, seconds: float) -> Yielding | Undefined:
    """Of the user's stretches that begin while the avatar speaks, how often does the avatar stop, and how fast?

    Given interruptions, a high rate and a low latency are good; given the user's backchannels the rate is that of false
    yields, and low is good. An end that would have come anyway counts too, so compare with the truth, or with matched
    moments. Undefined where no stretch begins while the avatar speaks (1.5 s before the end of the conversation).
    """
    ends = [(_speaking_at(own_ipus, start), start) for start, _ in user_speech if start + STOP_WITHIN <= seconds]
    waits = [end - start for end, start in ends if end is not None]
    if not waits:
        return Undefined("the user never begins while the avatar speaks")
    stops = [wait for wait in waits if wait <= STOP_WITHIN]
    return Yielding(
        rate=len(stops) / len(waits),
        stop_latency=float(np.median(stops)) if stops else Undefined("the avatar never stops"),
        moments=len(waits),
    )


def _speaking_at(ipus: Sequence[Segment], time: float) -> float | None:
    """End of the unit that runs at ``time``; ``None`` in silence."""
    return next((end for start, end in ipus if start < time < end), None)
