"""What became of the data set's own arrays, added up one recording at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from avatar_lab.data.schema import SIDES

MAX_KEYS = 100
"""Arrays listed by name; ``report.parquet`` has all."""


class FeatureFigures:
    """Hours by side and by array, rates, and counts of people's files and arrays that are left out."""

    def __init__(self) -> None:
        self._files = 0
        self._seconds: Counter[str] = Counter()
        self._keys: dict[str, float] = defaultdict(float)
        self._rates: Counter[str] = Counter()
        self._clocks: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        """Count both sides of a recording, as the step left them."""
        for side, values in found.items():
            self._files += 1
            self._left_out.update(values["left_out"].values())
            if values["refused"] is not None:
                note, detail = values["refused"]
                self._refused[note] += 1
                self._first.setdefault(note, detail)
                continue
            self._seconds[side] += values["covered"]
            for name, form in values["arrays"].items():
                self._keys[f"{name} {form}"] += values["covered"]
            self._rates["one row" if values["rate"] is None else f"{values['rate']:.6g} Hz"] += 1
            more = values["extra_rows"] or 0
            clock = "times of the video's frames" if values["clock"] == "video" else "stated rate"
            self._clocks[f"{clock}, {'more' if more > 0 else 'fewer'} rows than frames" if more else clock] += 1

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        listed = sorted(self._keys.items())[:MAX_KEYS]
        return {
            "files": self._files,
            "hours": {side: self._seconds[side] / 3600 for side in SIDES} if self._files else {},
            "hours_by_array": {name: seconds / 3600 for name, seconds in listed},
            "arrays": len(self._keys),
            "rates": dict(sorted(self._rates.items())),
            "clocks": dict(sorted(self._clocks.items())),
            "refused": dict(sorted(self._refused.items())),
            "first_refused": dict(sorted(self._first.items())),
            "left_out": dict(sorted(self._left_out.items())),
        }
