"""Sets of disjoint time spans, and the clock that runs only inside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spans:
    """Disjoint, sorted (start, end) spans in seconds inside a conversation that ends at ``total``."""

    spans: tuple[tuple[float, float], ...]
    total: float

    @classmethod
    def of(cls, spans: Sequence[tuple[float, float]], total: float) -> Spans:
        """Union of ``spans``, clipped to [0, total]."""
        merged: list[tuple[float, float]] = []
        for start, end in sorted((max(start, 0.0), min(end, total)) for start, end in spans):
            if end <= start:
                continue
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return cls(tuple(merged), total)

    @property
    def length(self) -> float:
        return sum(end - start for start, end in self.spans)

    def complement(self) -> Spans:
        edges = [0.0, *(edge for span in self.spans for edge in span), self.total]
        return Spans.of(list(zip(edges[::2], edges[1::2], strict=True)), self.total)

    def contains(self, time: float) -> bool:
        return any(start <= time < end for start, end in self.spans)

    def covers(self, start: float, end: float) -> bool:
        """Whether all of [start, end] lies in one span."""
        return any(first <= start and end <= last for first, last in self.spans)

    def elapsed(self, time: float) -> float:
        """Seconds spent inside the spans before ``time``."""
        return sum(min(end, time) - start for start, end in self.spans if start < time)

    def locate(self, elapsed: float) -> float:
        """Inverse of :meth:`elapsed` for 0 <= elapsed < length."""
        starts = np.asarray([start for start, _ in self.spans])
        before = np.cumsum([0.0, *(end - start for start, end in self.spans)])
        span = int(np.searchsorted(before, elapsed, side="right")) - 1
        if not 0 <= span < len(starts):
            raise ValueError(f"{elapsed} s does not lie inside spans of {self.length} s in all")
        return float(starts[span] + elapsed - before[span])
