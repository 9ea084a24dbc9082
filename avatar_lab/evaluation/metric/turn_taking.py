"""Who speaks when: turn-taking statistics, their distance to those of people, and what there should be little of.

The avatar is one side, the user the other; speech is given as inter-pausal units (IPUs), sorted and disjoint, in
seconds. Representation: voice activity of the decoded audio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wasserstein_distance

from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.events.battery import durations, per_minute
from avatar_lab.events.reactions import inter_pausal_units
from avatar_lab.events.segments import Segment, merge_close, overlap, total
from avatar_lab.events.turns import find_turns

LONG_SILENCE = 3.0
LONG_DOUBLE_TALK = 1.0
_TOUCH = 2e-6


@dataclass(frozen=True, kw_only=True)
class Speech:
    """Speech of both in one conversation of ``seconds``; stretches nearer than 200 ms become one IPU."""

    own: list[Segment]
    user: list[Segment]
    seconds: float

    def __post_init__(self) -> None:
        for side in ("own", "user"):
            object.__setattr__(self, side, inter_pausal_units(getattr(self, side)))


def battery(conversations: Sequence[Speech]) -> dict[str, dict[str, float]] | Undefined:
    """dGSLM's battery (Nguyen et al. 2023, arXiv:2203.16502): ``events`` and ``seconds`` per minute of ``ipu``,
    ``pause``, ``gap`` and ``overlap``, from totals over all conversations. Compare with the truth's; undefined without
    any time."""
    seconds = sum(one.seconds for one in conversations)
    if seconds <= 0:
        return Undefined("there is no conversation")
    return per_minute(_durations(conversations), seconds=seconds)


def battery_distances(truth: Sequence[Speech], made: Sequence[Speech]) -> dict[str, float | Undefined]:
    """Wasserstein distance in seconds of the durations of each kind of the battery; see ``wasserstein``."""
    true, other = _durations(truth), _durations(made)
    return {kind: wasserstein(true[kind], other[kind]) for kind in true}


def floor_transfer_offsets(speech: Speech) -> list[float]:
    """Seconds from the end of the user's turn to the avatar's, negative in overlap (Heldner & Edlund 2010)."""
    floor = find_turns(speech.own, speech.user)
    return [transfer.offset for transfer in floor.transfers if transfer.side == "a"]


def wasserstein(truth_N: Sequence[float], made_M: Sequence[float]) -> float | Undefined:
    """First Wasserstein distance in the unit of the values; lower is better, 0 for equal distributions.

    Like every distance of samples it is above 0 for equal laws, the more so the fewer there are: compare with that of
    two halves of the truth. Undefined without values on either side.
    """
    for name, values in (("truth", truth_N), ("avatar", made_M)):
        if len(values) == 0:
            return Undefined(f"no such events of the {name}")
    return float(wasserstein_distance(truth_N, made_M))


def speaking_share(speech: Speech) -> float | Undefined:
    """Share of all speech that is the avatar's; neither is better, compare with the truth. Undefined in silence."""
    spoken = total(speech.own) + total(speech.user)
    return total(speech.own) / spoken if spoken > 0 else Undefined("nobody speaks")


def overlap_share(speech: Speech) -> float | Undefined:
    """Share of the time with speech in which both speak; compare with the truth. Undefined in silence."""
    spoken = total(merge_close(speech.own + speech.user, min_gap=_TOUCH))
    return total(overlap(speech.own, speech.user)) / spoken if spoken > 0 else Undefined("nobody speaks")


def long_silences(speech: Speech, *, longer_than: float = LONG_SILENCE) -> float | Undefined:
    """Silences of both of more than 3 s, per minute; lower is better. Those at the edges count: nobody answered.

    Undefined where the user says nothing (nobody had to answer) or the conversation is no longer than such a silence.
    """
    if why := _unheard(speech, longer_than):
        return why
    spoken = merge_close(speech.own + speech.user, min_gap=_TOUCH)
    edges = [0.0, *(time for span in spoken for time in span), speech.seconds]
    silent = np.array(edges[1::2]) - np.array(edges[::2])
    return float((silent > longer_than).sum() / speech.seconds * 60)


def long_double_talk(speech: Speech, *, longer_than: float = LONG_DOUBLE_TALK) -> float | Undefined:
    """Stretches of more than 1 s in which both speak, per minute; lower is better. Undefined as ``long_silences``."""
    if why := _unheard(speech, longer_than):
        return why
    found = [end - start for start, end in overlap(speech.own, speech.user)]
    return float((np.array(found) > longer_than).sum() / speech.seconds * 60)


def _unheard(speech: Speech, longer_than: float) -> Undefined | None:
    if speech.seconds <= longer_than:
        return Undefined(f"{speech.seconds:g} s are no longer than what is counted")
    return None if speech.user else Undefined("the user says nothing")


def _durations(conversations: Sequence[Speech]) -> Mapping[str, list[float]]:
    """Durations of each kind, of all conversations."""
    pooled: dict[str, list[float]] = {"ipu": [], "pause": [], "gap": [], "overlap": []}
    for one in conversations:
        for kind, lengths in durations({"a": one.own, "b": one.user}).items():
            pooled[kind] += lengths
    return pooled
