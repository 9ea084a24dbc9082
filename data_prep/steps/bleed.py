"""Step 4, bleed: how much of the partner's voice is in a person's microphone.

Voice isolation is the level of a channel while only its owner speaks, minus the level of the same channel while only
the partner speaks, in decibels. Close microphones reach 16 to 23, one camera in the room 9.

Where much leaks, the voice activity of both sides is on while one of them speaks. Who that is then shows in the levels,
each against the loudest of its own channel: the owner is the louder one. Equal channels, as of one mixed recording in
two files, count for both and give an isolation of 0.

    R frames of the level
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from avatar_lab.data.schema import SIDES
from avatar_lab.events.segments import Segment, to_mask
from avatar_lab.events.vad import VadRule, frame_levels
from avatar_lab.events.waveform import Waveform
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.steps.store import StepResult

VERSION = 1
_LOUD_PERCENTILE = 95.0


@dataclass(frozen=True, kw_only=True)
class BleedRule:
    """When isolation is defined, and which recordings are refused for it."""

    min_seconds: float = 3.0
    """Of each person alone; with less, isolation is not defined."""
    min_isolation: float | None = None
    """Decibels; recordings with a side below are skipped. ``None`` skips none, an isolation that is not defined is
    never below."""

    def refuse(self, measured: StepResult) -> None:
        """Skip a recording of which a side is below ``min_isolation``.

        Raises:
            SkipRecording: with the side and its isolation.
        """
        for side in SIDES:
            isolation = measured.values["isolation_db"][side]
            if self.min_isolation is not None and isolation is not None and isolation < self.min_isolation:
                detail = f"voice isolation of side {side} {isolation:.1f} dB < {self.min_isolation:g} dB"
                raise SkipRecording(SkipReason.LOW_ISOLATION, detail)


def measure_bleed(
    waveforms: Mapping[str, Waveform], speech: dict[str, list[Segment]], *, sample_rate: int, min_seconds: float
) -> StepResult:
    """Voice isolation of both sides.

    Values, each by side: ``isolation_db`` (``None`` where there is too little of either), ``own_db`` and ``partner_db``
    median levels of the channel, ``own_seconds`` of the owner alone; ``both_share`` of all voiced time in which the
    voice activity of both is on.
    """
    frame = VadRule()
    level = {side: frame_levels(wav_S, sample_rate, frame) for side, wav_S in waveforms.items()}
    active = {side: to_mask(speech[side], rate=1 / frame.frame, count=len(level[side])) for side in SIDES}
    loudness = {side: _against_own_loudest(level[side], active[side]) for side in SIDES}
    alone = {}
    for side, other in zip(SIDES, reversed(SIDES), strict=True):
        alone[side] = active[side] & (~active[other] | (loudness[side] >= loudness[other]))
    seconds = {side: float(alone[side].sum()) * frame.frame for side in SIDES}
    enough = min(seconds.values()) >= min_seconds
    own_db = {side: _median(level[side][alone[side]]) for side in SIDES}
    partner_db = {side: _median(level[side][alone[other]]) for side, other in zip(SIDES, reversed(SIDES), strict=True)}
    isolation = {side: _difference(own_db[side], partner_db[side]) if enough else None for side in SIDES}
    either = float((active["a"] | active["b"]).sum())
    return StepResult(
        values={
            "isolation_db": isolation,
            "own_db": own_db,
            "partner_db": partner_db,
            "own_seconds": seconds,
            "both_share": float((active["a"] & active["b"]).sum()) / either if either else 0.0,
        }
    )


def _against_own_loudest(level_R: np.ndarray, active_R: np.ndarray) -> np.ndarray:
    """Level against the channel's loudest voice, so that gains of microphones do not decide who speaks."""
    return level_R - np.percentile(level_R[active_R], _LOUD_PERCENTILE) if active_R.any() else level_R


def _median(level_n: np.ndarray) -> float | None:
    return float(np.median(level_n)) if len(level_n) else None


def _difference(own: float | None, partner: float | None) -> float | None:
    return None if own is None or partner is None else own - partner
