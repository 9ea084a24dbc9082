"""All figures of a preparation, added up one recording at a time: ``report.json``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avatar_lab.data.schema import SIDES
from data_prep.report.feature_figures import FeatureFigures
from data_prep.report.reading import Reading
from data_prep.report.row import Row, SideRow
from data_prep.report.running import Running

MAX_NAMED = 5
"""Names given with a count; ``report.parquet`` has all."""
LONGEST = 20
"""People listed with their hours."""
STEPS = ("probe", "sync", "voice", "bleed", "track", "events", "motion", "features", "encode", "pictures")
"""Steps that a recording can have results of, in order."""

Totals = defaultdict[str, float]


@dataclass
class SplitFigures:
    """One split."""

    interactions: int = 0
    seconds: float = 0.0
    picture_seconds: float = 0.0
    speaking: Totals = field(default_factory=lambda: defaultdict(float))
    listening: Totals = field(default_factory=lambda: defaultdict(float))
    participants: set[str] = field(default_factory=set)

    def add(self, row: Row) -> None:
        """Count a recording."""
        seconds = row.seconds or 0.0
        self.interactions += 1
        self.seconds += seconds
        self.picture_seconds += seconds if row.has_pictures else 0.0
        for side, own in row.sides.items():
            self.speaking[side] += own.speaking_seconds or 0.0
            self.listening[side] += own.listening_seconds or 0.0
            if own.participant is not None:
                self.participants.add(own.participant)

    def plain(self) -> dict[str, Any]:
        """Hours and counts."""
        roles = {"speaking": self.speaking, "listening": self.listening}
        return {
            "interactions": self.interactions,
            "hours": self.seconds / 3600,
            "picture_hours": self.picture_seconds / 3600,
            "participants": len(self.participants),
            **{f"{role}_hours": {side: spent[side] / 3600 for side in SIDES} for role, spent in roles.items()},
        }


class Figures:
    """Figures of a whole preparation. Memory does not grow with events or hours, only with people and names."""

    def __init__(self) -> None:
        self._splits: dict[str, SplitFigures] = defaultdict(SplitFigures)
        self._licenses: dict[str, Totals] = defaultdict(lambda: defaultdict(float))
        self._people: Totals = defaultdict(float)
        self._steps: Counter[str] = Counter()
        self._seconds: Totals = defaultdict(float)
        self._counts: Counter[str] = Counter()
        self._laughs: Totals = defaultdict(float)
        self._rates: dict[str, Counter[str]] = {"frame rates": Counter(), "sample rates": Counter()}
        self._faces: Counter[str] = Counter()
        self._events: dict[str, Counter[str]] = {"given": Counter(), "motion": Counter()}
        self._features = FeatureFigures()
        self._dropped: dict[str, dict[str, Any]] = {}
        self._twins: dict[str, list[tuple[str, str]]] = {}
        self._offsets = Running(low=-30.0, high=30.0, step=0.001)
        self._seconds_of = {name: Running(low=0.0, high=120.0, step=0.005) for name in ("turn", "pause")}
        self._late = {name: Running(low=-5.0, high=5.0, step=0.001) for name in ("lag", "sound_after_picture")}
        self._confidence = Running(low=0.0, high=1.0, step=0.001)
        self._isolation = Running(low=-20.0, high=100.0, step=0.1)
        self._agreement = Running(low=0.0, high=1.0, step=0.001)
        self._stray = Running(low=0.0, high=10.0, step=0.01)
        self._balance = Running(low=0.0, high=1.0, step=0.001)

    def add_used(self, reading: Reading) -> None:
        """Count a recording that goes into the shards."""
        row = reading.row
        seconds = row.seconds or 0.0
        self._splits[row.split or ""].add(row)
        terms = self._licenses[row.license]
        terms["recordings"] += 1
        terms["seconds"] += seconds
        terms["non_commercial_seconds"] += seconds if row.non_commercial else 0.0
        self._steps.update(reading.steps)
        for name in ("speech", "overlap", "silence", "overlap_without_backchannels"):
            self._seconds[name] += getattr(row, f"{name}_seconds")
        self._counts["floor transfers"] += len(reading.offsets)
        self._counts["turns"] += len(reading.turns)
        self._counts["shifts after silence"] += row.shifts or 0
        self._counts["holds after silence"] += row.holds or 0
        known = [side.laughs for side in row.sides.values() if side.laughs is not None]
        self._laughs["seconds"] += seconds if known else 0.0
        self._laughs["laughs"] += sum(known)
        self._offsets.add(reading.offsets)
        self._seconds_of["turn"].add(reading.turns)
        self._seconds_of["pause"].add(reading.pauses)
        self._events["given"].update(reading.events)
        self._events["motion"].update(reading.motion)
        self._features.add(reading.features)
        self._late["lag"].add([] if row.lag_seconds is None else [row.lag_seconds])
        self._confidence.add([] if row.lag_confidence is None else [row.lag_confidence])
        spoken = [row.sides[side].speaking_seconds or 0.0 for side in SIDES]
        self._balance.add([spoken[0] / sum(spoken)] if sum(spoken) else [])
        for side in row.sides.values():
            self._add_side(side, seconds)

    def _add_side(self, side: SideRow, seconds: float) -> None:
        if side.participant is not None:
            self._people[side.participant] += seconds
        self._rates["frame rates"]["no video" if side.fps is None else f"{side.fps:.6g} fps"] += 1
        self._rates["sample rates"][f"{side.sample_rate} Hz"] += 1
        for kind in ("backchannels", "interruptions"):
            self._counts[kind] += getattr(side, kind)
        if side.face_from is not None:
            self._faces[side.face_from] += 1
        for running, value in (
            (self._late["sound_after_picture"], side.sound_after_picture),
            (self._isolation, side.isolation_db),
            (self._agreement, side.voice_agreement),
            (self._stray, None if side.face_from == "none" else side.face_stray),
        ):
            running.add([] if value is None else [value])

    def add_identity(self, interaction: str, *, split: str, content: str) -> None:
        """Note what a recording was encoded from: equal ``content`` is the same recording under two names."""
        self._twins.setdefault(content, []).append((interaction, split))

    def add_dropped(self, row: Row, *, damage: bool) -> None:
        """Count a recording that is in no shard."""
        found = self._dropped.setdefault(
            row.dropped or "", {"recordings": 0, "hours": 0.0, "unknown_length": 0, "damage": damage, "first": []}
        )
        found["recordings"] += 1
        found["hours"] += (row.seconds or 0.0) / 3600
        found["unknown_length"] += row.seconds is None
        if len(found["first"]) < MAX_NAMED:
            found["first"].append(row.interaction)

    def plain(self, shares: Mapping[str, float]) -> dict[str, Any]:
        """Everything as plain values; ``shares`` names the splits that were asked for."""
        used = sum(split.interactions for split in self._splits.values())
        seconds = sum(split.seconds for split in self._splits.values())
        heard = self._seconds["speech"] + self._seconds["silence"]
        names = sorted({*self._splits, *(name for name, share in shares.items() if share)})
        dropped = dict(sorted(self._dropped.items()))
        return {
            "prepared": used,
            "skipped": sum(found["recordings"] for found in dropped.values()),
            "skipped_by_reason": {reason: found["recordings"] for reason, found in dropped.items()},
            "dropped": dropped,
            "hours": seconds / 3600,
            "picture_hours": sum(split.picture_seconds for split in self._splits.values()) / 3600,
            "splits": {name: self._splits.get(name, SplitFigures()).plain() for name in names},
            "steps": {step: self._steps[step] for step in (*STEPS, *sorted(set(self._steps) - set(STEPS)))},
            "leakage": self._leakage(),
            "participants": self._participants(),
            "licenses": {name: _terms(terms) for name, terms in sorted(self._licenses.items())},
            "non_commercial_hours": sum(terms["non_commercial_seconds"] for terms in self._licenses.values()) / 3600,
            "non_commercial": any(terms["non_commercial_seconds"] for terms in self._licenses.values()),
            "time_shares": {name: spent / heard for name, spent in sorted(self._seconds.items())} if heard else {},
            "per_minute": self._per_minute(seconds / 60),
            "shift_share": self._shift_share(),
            "floor_transfer_offset": self._floor_transfers(),
            "gap": self._offsets.above(0.0).summary(),
            "overlap_at_transfer": self._offsets.below(0.0).summary(),
            **{name: running.summary() for name, running in self._seconds_of.items()},
            "balance": self._balance.summary(),
            "histograms": self._histograms(),
            **{name.replace(" ", "_"): _by_number(found) for name, found in self._rates.items()},
            "faces_from": dict(sorted(self._faces.items())),
            "face_stray": self._stray.summary(),
            "voice_agreement": self._agreement.summary(),
            "sound_after_picture": self._late["sound_after_picture"].summary(),
            "lag": self._late["lag"].summary(),
            "lag_confidence": self._confidence.summary(),
            "isolation_db": self._isolation.summary(),
            "given_events": dict(sorted(self._events["given"].items())),
            "motion_events": dict(sorted(self._events["motion"].items())),
            "features": self._features.plain(),
        }

    def _per_minute(self, minutes: float) -> dict[str, float]:
        """Rates of the conversation; of laughs over the recordings that say where people laugh."""
        rates = {name: count / minutes for name, count in self._counts.items()} if minutes else {}
        if self._laughs["seconds"]:
            rates["laughs"] = self._laughs["laughs"] / (self._laughs["seconds"] / 60)
        return dict(sorted(rates.items()))

    def _shift_share(self) -> float | None:
        """Of silences whose outcome is plain, the part after which the other speaks; ``None`` where there is none."""
        shifts, holds = self._counts["shifts after silence"], self._counts["holds after silence"]
        return shifts / (shifts + holds) if shifts + holds else None

    def _floor_transfers(self) -> dict[str, float]:
        found = self._offsets.summary()
        return found | {"share_in_overlap": self._offsets.below(0.0).count / self._offsets.count} if found else {}

    def _histograms(self) -> dict[str, Any]:
        wide: dict[str, Any] = {"low": -1.0, "high": 1.0, "bins": 80}
        return {
            "floor_transfer_offset": self._offsets.histogram(low=-3.0, high=3.0, bins=60),
            "gap": self._offsets.above(0.0).histogram(low=0.0, high=3.0, bins=60),
            "pause": self._seconds_of["pause"].histogram(low=0.0, high=3.0, bins=60),
            "turn": self._seconds_of["turn"].histogram(low=0.0, high=30.0, bins=60),
            "lag": self._late["lag"].histogram(**wide),
            "sound_after_picture": self._late["sound_after_picture"].histogram(**wide),
            "isolation_db": self._isolation.histogram(low=0.0, high=60.0, bins=60),
        }

    def _participants(self) -> dict[str, Any]:
        hours = {name: seconds / 3600 for name, seconds in self._people.items()}
        longest = dict(sorted(hours.items(), key=lambda person: (-person[1], person[0]))[:LONGEST])
        each = np.quantile(list(hours.values()), [0.1, 0.5, 0.9]).tolist() if hours else []
        return {
            "people": len(hours),
            "hours_each": dict(zip(("p10", "p50", "p90"), each, strict=False)),
            "longest": longest,
        }

    def _leakage(self) -> dict[str, Any]:
        """People, and recordings of the same files, that are in more than one split."""
        count = Counter(person for split in self._splits.values() for person in split.participants)
        people = sorted(person for person, splits in count.items() if splits > 1)
        twins = [same for same in self._twins.values() if len(same) > 1]
        return {
            "people": people,
            "same_files": len(twins),
            "same_files_across_splits": sum(len({split for _, split in same}) > 1 for same in twins),
            "first_same_files": [[name for name, _ in same] for same in twins[:MAX_NAMED]],
        }


def _terms(terms: Totals) -> dict[str, float]:
    return {
        "recordings": int(terms["recordings"]),
        "hours": terms["seconds"] / 3600,
        "non_commercial_hours": terms["non_commercial_seconds"] / 3600,
    }


def _by_number(found: Counter[str]) -> dict[str, int]:
    """In order of the rate that a name starts with; names without one first."""

    def rate(name: str) -> float:
        first = name.split()[0]
        return float(first) if first[0].isdigit() else -1.0

    return {name: found[name] for name in sorted(found, key=rate)}
