"""What was found beside what is known of people (``avatar_lab.human``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avatar_lab.human import HUMAN_FIGURES, HumanFigure, Statistic

_SUMMARIES = {
    "floor-transfer offset": "floor_transfer_offset",
    "gap": "gap",
    "overlap at transfer": "overlap_at_transfer",
    "pause": "pause",
    "turn": "turn",
    "balance": "balance",
}
"""Quantities with a mean and quantiles, and where the report has them."""
_SHARES = {
    "transfers in overlap": ("floor_transfer_offset", "share_in_overlap"),
    "silence": ("time_shares", "silence"),
    "overlap": ("time_shares", "overlap_without_backchannels"),
}
_RATES = frozenset({"floor transfers", "backchannels", "interruptions", "laughs"})
"""Per minute, of the conversation."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One figure about people, and the same of this data set; ``None``: not known."""

    figure: HumanFigure
    found: float | None

    def cells(self) -> tuple[str, str, str]:
        """Name, what was found, what is known of people."""
        found = "not known" if self.found is None else self._text(self.found)
        return self.figure.name, found, self._text(self.figure.value)

    def _text(self, value: float) -> str:
        if self.figure.statistic is Statistic.SHARE:
            return f"{value:.1%}"
        return f"{value:.2f}" if self.figure.statistic is Statistic.PER_MINUTE else f"{value:.3f} {self.figure.unit}"


def comparisons(report: Mapping[str, Any]) -> list[Comparison]:
    """Every figure about people that the report has a counterpart of, in the order of the table."""
    found = []
    for figure in HUMAN_FIGURES:
        if figure.statistic is Statistic.PER_MINUTE:
            known, value = figure.quantity in _RATES, report["per_minute"].get(figure.quantity)
        elif figure.statistic is Statistic.SHARE:
            table, key = _SHARES.get(figure.quantity, ("", ""))
            known, value = bool(table), report.get(table, {}).get(key)
        else:
            known = figure.quantity in _SUMMARIES
            value = report[_SUMMARIES[figure.quantity]].get(str(figure.statistic)) if known else None
        if known:
            found.append(Comparison(figure=figure, found=value))
    return found
