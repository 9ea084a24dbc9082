"""Laughs among short vocal reactions: voice in bursts.

A laugh is a row of notes of some 75 ms about every 210 ms (Provine & Yong 1991, Ethology 89); a hum of assent has one
or two. Only reactions are looked at, and words have syllables at the same pace: a laugh in the middle of one's own
words is not found, and a few words put into the other's turn may pass for one.

    S samples   R analysis frames
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from avatar_lab.event_types import Event, EventType
from avatar_lab.events.segments import Segment
from avatar_lab.events.vad import VadRule, frame_levels
from avatar_lab.events.waveform import Waveform


@dataclass(frozen=True, kw_only=True)
class LaughRule:
    """Parameters of the detector; seconds and decibels."""

    min_bursts: int = 3
    min_dip: float = 4.0
    """The level falls by so much between two bursts."""
    least_period: float = 0.1
    smoothing: float = 0.015


def detect_laughs(
    wav_S: Waveform,
    sample_rate: int,
    reactions: list[Segment],
    rule: LaughRule | None = None,
    *,
    interaction: str = "",
    side: str = "a",
) -> list[Event]:
    """LAUGH events: those of the vocal ``reactions`` (``reactions.find_backchannels``) of a mono waveform in [-1, 1]
    that come in bursts; ``strength`` is their number."""
    rule, frame = rule or LaughRule(), VadRule().frame
    level_R = gaussian_filter1d(frame_levels(wav_S, sample_rate, VadRule()), rule.smoothing / frame, mode="nearest")
    events = []
    for start, end in reactions:
        within_R = level_R[round(start / frame) : round(end / frame)]
        quiet = within_R.min(initial=0.0) - 2 * rule.min_dip  # so that bursts at the edges stand out too
        peaks, _ = find_peaks(
            np.concatenate([[quiet], within_R, [quiet]]),
            prominence=rule.min_dip,
            distance=max(1, round(rule.least_period / frame)),
        )
        if len(peaks) >= rule.min_bursts:
            events.append(
                Event(
                    interaction=interaction,
                    side=side,
                    type=EventType.LAUGH,
                    start=start,
                    end=end,
                    strength=float(len(peaks)),
                )
            )
    return events
