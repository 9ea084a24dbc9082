"""Which prepared conversations a run uses, by figures of the index: the preparation notes them and filters nothing.

A figure that is not known (too little speech to tell, or a data set made before it was stored) is NaN and is neither
above nor below a bound; ``keep_unknown`` says what becomes of such conversations.

    N interactions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar_lab.data.index import Index
from avatar_lab.data.schema import SIDES


@dataclass(frozen=True, kw_only=True)
class SelectionRule:
    """Bounds on figures of a conversation; ``None`` asks nothing.

    Raises:
        ValueError: a bound is negative.
    """

    min_isolation_db: float | None = None
    """Voice isolation of the worse microphone: its level while its owner speaks minus while the partner does."""
    max_lag_seconds: float | None = None
    """Lag between the two sides, either way, as they are stored."""
    min_lag_confidence: float = 0.999
    """A lag that is less sure is not known."""
    keep_unknown: bool = True

    def __post_init__(self) -> None:
        if self.max_lag_seconds is not None and self.max_lag_seconds < 0:
            raise ValueError(f"selection.max_lag_seconds is {self.max_lag_seconds}: give the largest lag either way")

    def refused(self, rows: Index, keys: Sequence[str]) -> dict[str, list[str]]:
        """Those of ``keys`` that are left out, by reason: the bound that they miss, or ``unknown`` and what of them."""
        found: dict[str, np.ndarray] = {}
        position_N = rows.positions(keys)
        if self.min_isolation_db is not None:
            a_N, b_N = (rows.figures(f"{side}_isolation_db")[position_N] for side in SIDES)
            found["isolation below min_isolation_db"] = (a_N < self.min_isolation_db) | (b_N < self.min_isolation_db)
            found["unknown isolation"] = np.isnan(a_N) | np.isnan(b_N)
        if self.max_lag_seconds is not None:
            lag_N, confidence_N = (rows.figures(name)[position_N] for name in ("lag_seconds", "lag_confidence"))
            sure_N = confidence_N >= self.min_lag_confidence
            found["lag above max_lag_seconds"] = sure_N & (np.abs(lag_N) > self.max_lag_seconds)
            found["unknown lag"] = ~sure_N | np.isnan(lag_N)
        if self.keep_unknown:
            found = {reason: out_N for reason, out_N in found.items() if not reason.startswith("unknown")}
        named = {
            reason: [key for key, out in zip(keys, out_N.tolist(), strict=True) if out]
            for reason, out_N in found.items()
        }
        return {reason: keys for reason, keys in named.items() if keys}
