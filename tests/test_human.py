"""The table of human figures is one figure per name, with quantiles in order and figures that agree with each other."""

from __future__ import annotations

import pytest

from avatar_lab.human import HUMAN_FIGURES, Statistic, human, human_figures


def test_every_figure_is_there_once_with_its_source() -> None:
    assert len({figure.name for figure in HUMAN_FIGURES}) == len(HUMAN_FIGURES)
    assert all(figure.source and figure.unit in ("s", "1/min", "Hz", "") for figure in HUMAN_FIGURES)
    with pytest.raises(ValueError, match="no human figure for yawn per minute; known are"):
        human("yawn", Statistic.PER_MINUTE)


def test_figures_agree_with_each_other() -> None:
    for quantity in {figure.quantity for figure in HUMAN_FIGURES}:
        found = human_figures(quantity)
        quantiles = [found[name].value for name in (Statistic.P10, Statistic.P50, Statistic.P90) if name in found]
        assert quantiles == sorted(quantiles)
    # the mean offset is that of its gaps and its overlaps
    late, early = human("gap", Statistic.MEAN).value, human("overlap at transfer", Statistic.MEAN).value
    share = human("transfers in overlap", Statistic.SHARE).value
    mean = (1 - share) * late + share * early
    assert mean == pytest.approx(human("floor-transfer offset", Statistic.MEAN).value, abs=0.02)
    # transfers per minute are turns per minute
    spoken = 60 / human("turn", Statistic.MEAN).value
    assert spoken == pytest.approx(human("floor transfers", Statistic.PER_MINUTE).value, rel=0.25)
