"""How closely the calibrated world keeps to what is known of people (``avatar_lab.human``): a tolerance per figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avatar_lab.human import HumanFigure, Statistic, human


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One row: the world's value must lie within ``tolerance`` of the figure."""

    figure: HumanFigure
    tolerance: float

    @property
    def name(self) -> str:
        return self.figure.name

    def met(self, value: float) -> bool:
        return abs(value - self.figure.value) <= self.tolerance


_MEAN, _P10, _P50, _P90, _SHARE, _PER_MINUTE, _LOG_SPREAD = (
    Statistic.MEAN,
    Statistic.P10,
    Statistic.P50,
    Statistic.P90,
    Statistic.SHARE,
    Statistic.PER_MINUTE,
    Statistic.LOG_SPREAD,
)


def _rows(table: Mapping[str, Mapping[Statistic, float]]) -> tuple[Quantity, ...]:
    return tuple(
        Quantity(figure=human(quantity, statistic), tolerance=tolerance)
        for quantity, tolerances in table.items()
        for statistic, tolerance in tolerances.items()
    )


FLOOR_ROWS = _rows(
    {
        "floor-transfer offset": {_MEAN: 0.1, _P50: 0.06, _P10: 0.2, _P90: 0.2},
        "transfers in overlap": {_SHARE: 0.04},
        "gap": {_MEAN: 0.08, _P50: 0.05, _P10: 0.03, _P90: 0.25},
        "overlap at transfer": {_MEAN: 0.13, _P50: 0.08, _P10: 0.4},
        "pause": {_MEAN: 0.05, _P50: 0.05, _P90: 0.12},
        "floor transfers": {_PER_MINUTE: 0.8},
        "backchannels": {_PER_MINUTE: 0.5},
        "overlaps": {_PER_MINUTE: 0.6},
        "interruptions": {_PER_MINUTE: 0.2},
        "laughs": {_PER_MINUTE: 0.25},
        "turn": {_MEAN: 1.6, _P50: 0.5},
        "silence": {_SHARE: 0.02},
        "balance": {_MEAN: 0.04},
        "overlap": {_SHARE: 0.008},
    }
)
FACE_ROWS = _rows(
    {
        "blinks talking": {_PER_MINUTE: 2.6, _LOG_SPREAD: 0.07},
        "blinks at rest": {_PER_MINUTE: 1.7},
        "gaze at partner talking": {_SHARE: 0.04},
        "gaze at partner listening": {_SHARE: 0.04},
        "mutual gaze": {_SHARE: 0.04},
        "glance at partner": {_MEAN: 0.5},
        "nod frequency": {_MEAN: 0.7},
        "smiles mirrored within a second": {_SHARE: 0.15},
    }
)
HUMAN_TABLE = (*FLOOR_ROWS, *FACE_ROWS)


def comparison(values: Mapping[str, float], rows: Sequence[Quantity]) -> str:
    """The table as text, one line per row, with a mark where the world is off."""
    lines = [f"{'quantity':<50}{'world':>9}{'people':>9}{'+-':>7}  source"]
    for row in rows:
        if row.name in values:
            mark = "" if row.met(values[row.name]) else "  <- off"
            figures = f"{values[row.name]:>9.3f}{row.figure.value:>9.3f}{row.tolerance:>7.2f}"
            lines.append(f"{f'{row.name} {row.figure.unit}':<50}{figures}  {row.figure.source}{mark}")
    return "\n".join(lines)
