"""Step 2, sync: by how much one side's media time is late against the other's, and how sure that is.

Within a file presentation times decide (``clock.py``); what they say about the start of sound against picture is noted
here. Between the two files of a pair nothing does: data sets assume that both began together. ``events/pair_lag.py``
looks for the lag in the sound. It is noted, and nothing is moved unless ``SyncRule.apply`` asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from avatar_lab.data.schema import SIDES
from avatar_lab.events.pair_lag import LagRule, find_lag
from avatar_lab.events.waveform import Waveform
from data_prep.manifest import Recording
from data_prep.steps.store import StepResult

VERSION = 1
JUDGED_SECONDS = 3600.0
"""A lag is looked for in this much of the beginning: the search needs curves of all of it at once, and an hour is sixty
times the shortest recording that allows a statement."""


@dataclass(frozen=True, kw_only=True)
class SyncRule:
    """How a lag is looked for, and when it is acted upon."""

    search: LagRule = field(default_factory=LagRule)
    apply: bool = False
    """Move side ``b`` to where its sound says it belongs; by default nothing is moved."""
    min_confidence: float = 0.999
    """No lag is acted upon that is less sure."""

    def shift(self, synced: StepResult) -> float:
        """Seconds to add to the media times of side ``b``; 0 for a lag that is unsure or smaller than its evidence can
        tell from none."""
        found = synced.values
        if not self.apply or found["lag_seconds"] is None or found["confidence"] < self.min_confidence:
            return 0.0
        lag = float(found["lag_seconds"])
        return -lag if abs(lag) > float(found[found["evidence"]]["resolution"]) else 0.0

    def shifts(self, recording: Recording, synced: StepResult) -> dict[str, float]:
        """Seconds to add to the media times of a side; none where both people share one file, and with it a clock."""
        one_file = any(files.channel is not None for files in recording.sides.values())
        return {"b": 0.0 if one_file else self.shift(synced)}


def judged(probed: StepResult) -> dict[str, float]:
    """``judged_seconds``, the beginning by which a longer recording is judged; nothing for one that is judged whole."""
    return {"judged_seconds": JUDGED_SECONDS} if probed.values["seconds"] > JUDGED_SECONDS else {}


def sync(waveforms: Mapping[str, Waveform], probed: StepResult, *, sample_rate: int, rule: LagRule) -> StepResult:
    """Lag of side ``b`` behind side ``a``, from at most the first ``JUDGED_SECONDS``.

    Values: ``lag_seconds`` (positive: ``b`` is late) and ``confidence`` of the surer ``evidence`` (``bleed`` or
    ``turns``; both are there under their names with peak and chance level), ``None``, 0 and neither where the recording
    is too short to tell; ``windows`` of chance that this rests on; ``sound_after_picture`` seconds by side;
    ``judged_seconds`` where the recording is longer.
    """
    found = find_lag(waveforms, sample_rate, rule)
    values: dict[str, Any] = {
        "lag_seconds": None if found.best is None else found.best.lag,
        "confidence": found.confidence,
        "evidence": found.surer,
        "windows": found.windows,
        "sound_after_picture": sound_after_picture(probed),
    } | judged(probed)
    values |= {name: asdict(evidence) for name, evidence in found.evidence.items()}
    return StepResult(values=values)


def sound_after_picture(probed: StepResult) -> dict[str, float]:
    """Seconds by which a side's first sample comes after its first frame, by side that has pictures."""
    return {
        side: probed.values[f"{side}.audio"]["start"] - probed.values[f"{side}.video"]["start"]
        for side in SIDES
        if f"{side}.video" in probed.values
    }
