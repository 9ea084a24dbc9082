"""Vocal reactions: short utterances that do not take the floor.

The backchannel rule is that of Voice Activity Projection (Ekstedt & Skantze 2022, arXiv:2205.09812): at most 1 s long,
at least 1 s of own silence before and after, while the other holds the floor. Rates differ by a factor of five between
definitions in the literature; every table of this package uses this one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from avatar_lab.event_types import Event, EventType
from avatar_lab.events.segments import Segment, covered_seconds, merge_close

MIN_OWN_SILENCE = 0.2
MAX_BACKCHANNEL = 1.0
MIN_SILENCE_AROUND = 1.0
FLOOR_REACH = 3.0


def inter_pausal_units(segments: list[Segment], *, min_silence: float = MIN_OWN_SILENCE) -> list[Segment]:
    """IPUs: speech bounded by at least ``min_silence`` seconds of own silence."""
    return merge_close(segments, min_gap=min_silence)


def find_backchannels(own_ipus: list[Segment], other_ipus: list[Segment]) -> list[Segment]:
    """Own IPUs that satisfy the rule.

    The other holds the floor if it spoke within the last ``FLOOR_REACH`` seconds and is speaking, or speaks again
    within ``FLOOR_REACH`` seconds and before the own next IPU. Silence at the edge of the recording is long enough.
    """
    found = []
    starts, ends = [s for s, _ in other_ipus], [e for _, e in other_ipus]
    for index, (start, end) in enumerate(own_ipus):
        before = own_ipus[index - 1][1] if index else None
        after = own_ipus[index + 1][0] if index + 1 < len(own_ipus) else None
        quiet = (before is None or start - before >= MIN_SILENCE_AROUND) and (
            after is None or after - end >= MIN_SILENCE_AROUND
        )
        if quiet and end - start <= MAX_BACKCHANNEL and _other_holds(start, end, after, starts, ends):
            found.append((start, end))
    return found


def _other_holds(start: float, end: float, own_next: float | None, starts: list[float], ends: list[float]) -> bool:
    spoken = bisect_left(starts, start)
    if spoken == 0 or start - ends[spoken - 1] > FLOOR_REACH:
        return False
    still_speaking = bisect_right(ends, end)
    if still_speaking < len(ends) and starts[still_speaking] <= end:
        return True
    following = bisect_left(starts, end)
    if following == len(starts) or starts[following] - end > FLOOR_REACH:
        return False
    return own_next is None or starts[following] < own_next


def detect_backchannels(
    own_segments: list[Segment], other_segments: list[Segment], *, interaction: str = "", side: str = "a"
) -> list[Event]:
    """BACKCHANNEL events of ``side`` from the speech segments of both."""
    spans = find_backchannels(inter_pausal_units(own_segments), inter_pausal_units(other_segments))
    return [
        Event(interaction=interaction, side=side, type=EventType.BACKCHANNEL, start=start, end=end)
        for start, end in spans
    ]


def wordless_ipus(ipus: list[Segment], words: list[Segment], *, max_seconds: float = 2.0) -> list[Segment]:
    """Short IPUs in which nothing was transcribed: laughs, "mm-hm" and sighs of corpora that have no label for them."""
    short = [(start, end) for start, end in ipus if end - start <= max_seconds]
    spoken = set(overlapping_ipus(short, words, min_share=1e-9))
    return [ipu for ipu in short if ipu not in spoken]


def overlapping_ipus(ipus: list[Segment], marked: list[Segment], *, min_share: float = 0.5) -> list[Segment]:
    """IPUs of which at least ``min_share`` is covered by ``marked``, for instance by laughs known from annotation."""
    found = []
    for start, end in ipus:
        inside = [(max(s, start) - start, min(e, end) - start) for s, e in marked if s < end and e > start]
        share = covered_seconds(merge_close(inside, min_gap=0.0), rate=1 / (end - start), count=1)[0] / (end - start)
        if share >= min_share:
            found.append((start, end))
    return found
