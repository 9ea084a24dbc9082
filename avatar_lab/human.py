"""How people talk to each other and look: published figures that data sets, the world and generated conversations are
held to.

One row per figure, with its source and how well the source is known. Definitions differ between studies, by a factor of
five for backchannels; where a study's differs from that of ``events/turns.py`` and ``events/reactions.py``, the row
says so, and a comparison must show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Statistic(StrEnum):
    """What a figure is of its quantity."""

    MEAN = "mean"
    P10 = "p10"
    P50 = "p50"
    P90 = "p90"
    SHARE = "share"
    PER_MINUTE = "per minute"
    LOG_SPREAD = "spread of the logarithm"
    """Standard deviation over people."""


class Evidence(StrEnum):
    """How well the source of a figure is known."""

    READ = "read"
    """In a text that was read."""
    EXCERPT = "excerpt"
    """In an excerpt or abstract only: no ground for a tight tolerance."""
    COMPUTED = "computed"
    """From other figures of the same source."""


@dataclass(frozen=True, kw_only=True)
class HumanFigure:
    """One number about people.

    unit  ``s`` seconds, ``Hz``, ``1/min`` of the conversation (both people together), empty for shares
    note  where its definition is not this package's
    """

    quantity: str
    statistic: Statistic
    value: float
    unit: str
    source: str
    evidence: Evidence
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.quantity} {self.statistic}"


SWITCHBOARD = "Switchboard, 2,438 telephone calls, 120,163 floor transfers; third-party audit"
BENTIVOGLIO = "Bentivoglio et al. 1997, Movement Disorders 12"
ARGYLE = "Argyle, second-hand"
HALE = "Hale 2020, PMC7054373"
RIEHLE = "Riehle 2017"


def _switchboard(
    quantity: str,
    values: dict[Statistic, float],
    *,
    unit: str,
    note: str = "",
    evidence: Evidence = Evidence.READ,
) -> list[HumanFigure]:
    return [
        HumanFigure(
            quantity=quantity,
            statistic=statistic,
            value=value,
            unit=unit,
            source=SWITCHBOARD,
            evidence=evidence,
            note=note,
        )
        for statistic, value in values.items()
    ]


def _per_minute(quantity: str, value: float, *, note: str = "") -> list[HumanFigure]:
    return _switchboard(quantity, {Statistic.PER_MINUTE: value}, unit="1/min", note=note)


def _excerpt(quantity: str, statistic: Statistic, value: float, *, unit: str, source: str) -> HumanFigure:
    return HumanFigure(
        quantity=quantity, statistic=statistic, value=value, unit=unit, source=source, evidence=Evidence.EXCERPT
    )


_MEAN, _P10, _P50, _P90, _SHARE = (
    Statistic.MEAN,
    Statistic.P10,
    Statistic.P50,
    Statistic.P90,
    Statistic.SHARE,
)

HUMAN_FIGURES: tuple[HumanFigure, ...] = (
    *_switchboard("floor-transfer offset", {_MEAN: 0.010, _P10: -1.075, _P50: 0.090, _P90: 0.994}, unit="s"),
    *_switchboard("transfers in overlap", {_SHARE: 0.429}, unit=""),
    *_switchboard("gap", {_MEAN: 0.652, _P10: 0.073, _P50: 0.358, _P90: 1.529}, unit="s"),
    *_switchboard("overlap at transfer", {_MEAN: -0.845, _P10: -2.141, _P50: -0.439}, unit="s"),
    *_switchboard(
        "pause", {_MEAN: 0.518, _P50: 0.409, _P90: 1.008}, unit="s", note="from 50 ms on; here from 200 ms on"
    ),
    *_switchboard("turn", {_MEAN: 9.4, _P50: 4.4}, unit="s"),
    *_per_minute("floor transfers", 7.7),
    *_per_minute("backchannels", 3.9, note="by a lexical rule; here by length and silence around"),
    *_per_minute("overlaps", 3.6),
    *_per_minute("interruptions", 0.86, note="here only brief ones, which do not take the floor"),
    *_per_minute("laughs", 1.4),
    *_switchboard("silence", {_SHARE: 0.177}, unit=""),
    *_switchboard("overlap", {_SHARE: 0.024}, unit="", note="backchannels left out", evidence=Evidence.COMPUTED),
    *_switchboard("balance", {_MEAN: 0.504}, unit="", note="share of all speech that is one speaker's"),
    _excerpt("floor-transfer offset on video", _P50, 0.080, unit="s", source="video calls (CANDOR), guscooney.com"),
    _excerpt("blinks talking", Statistic.PER_MINUTE, 26.0, unit="1/min", source=BENTIVOGLIO),
    _excerpt("blinks at rest", Statistic.PER_MINUTE, 17.0, unit="1/min", source=BENTIVOGLIO),
    _excerpt("gaze at partner talking", _SHARE, 0.41, unit="", source=ARGYLE),
    _excerpt("gaze at partner listening", _SHARE, 0.75, unit="", source=ARGYLE),
    _excerpt("mutual gaze", _SHARE, 0.31, unit="", source=ARGYLE),
    _excerpt("glance at partner", _MEAN, 2.95, unit="s", source=ARGYLE),
    HumanFigure(
        quantity="blinks talking",
        statistic=Statistic.LOG_SPREAD,
        value=0.29,
        unit="",
        source=BENTIVOGLIO,
        evidence=Evidence.COMPUTED,
        note="from 95 % of people between 10.5 and 32.5",
    ),
    HumanFigure(
        quantity="nod frequency",
        statistic=_MEAN,
        value=3.3,
        unit="Hz",
        source=HALE,
        evidence=Evidence.EXCERPT,
        note="listeners' fast nods have 2.6 to 6.5 Hz; the slow end, where 25 frames a second show them well",
    ),
    HumanFigure(
        quantity="smiles mirrored within a second",
        statistic=_SHARE,
        value=0.8,
        unit="",
        source=RIEHLE,
        evidence=Evidence.EXCERPT,
        note="the source says: mostly",
    ),
)
"""Rates are of the conversation, blinks of one person."""


def human(quantity: str, statistic: Statistic) -> HumanFigure:
    """The figure of this quantity.

    Raises:
        ValueError: there is none.
    """
    for figure in HUMAN_FIGURES:
        if (figure.quantity, figure.statistic) == (quantity, statistic):
            return figure
    raise ValueError(f"no human figure for {quantity} {statistic}; known are {[row.name for row in HUMAN_FIGURES]}")


def human_figures(quantity: str) -> dict[Statistic, HumanFigure]:
    """All figures of one quantity; empty where none is known."""
    return {figure.statistic: figure for figure in HUMAN_FIGURES if figure.quantity == quantity}
