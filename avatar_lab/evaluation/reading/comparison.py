"""Two agents in the same conversations: differences with intervals, and how often one is better, for every metric.

Only samples that both were judged in count, so that what dyads have in common cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from avatar_lab.evaluation.comparisons import compare_metric, shared_samples
from avatar_lab.evaluation.digits import limits, number, p_text
from avatar_lab.evaluation.estimates import columns_of
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.multiplicity import holm
from avatar_lab.evaluation.paired import Comparison
from avatar_lab.evaluation.reading.level_table import estimates, measured_metrics, titled
from avatar_lab.evaluation.reading.result import Result
from avatar_lab.evaluation.statistics import Estimate
from avatar_lab.figure_style import STYLE, Svg, as_svg

BETTER, WORSE, OPEN = "#2f855a", "#c0392b", "#8a8f98"


@dataclass(frozen=True, kw_only=True)
class MetricComparison:
    """One metric of two agents over the dyads of both.

    compared    ``improvement`` means nothing where neither way is better
    p_adjusted  by Holm over all metrics of the comparison
    """

    metric: str
    first: Estimate
    second: Estimate
    compared: Comparison
    p_adjusted: float | None

    @property
    def directed(self) -> bool:
        return METRICS[self.metric].higher_better is not None


def compare(result: Result, first: str, second: str, metrics: Sequence[str] | None = None) -> list[MetricComparison]:
    """``second`` against ``first`` for every metric that both have a value of.

    Raises:
        ValueError: an agent was not measured, or the two share no sample.
    """
    metrics = measured_metrics(result) if metrics is None else metrics
    pair = shared_samples(result.of(first), result.of(second))
    if pair[0].empty:
        raise ValueError(f"{first} and {second} share no sample: evaluate them on the same data, in one evaluation")
    shared = Result(root=result.root, folder=result.folder, samples=pd.concat(pair), agents=result.agents)
    cells = {(cell.agent, cell.metric): cell.estimate for cell in estimates(shared, metrics, agents=[first, second])}
    rows = [dict(list(part.groupby("metric", sort=False))) for part in pair]  # looked up, not searched per metric
    found: dict[str, Comparison] = {}
    for metric in metrics:
        if any(metric not in parts for parts in rows):
            continue
        own = [pd.concat([parts[name] for name in columns_of(metric) if name in parts]) for parts in rows]
        compared = compare_metric(own[0], own[1], metric, seed=result.seed)
        if compared.difference.defined:
            found[metric] = compared
    adjusted = holm({metric: each.p for metric, each in found.items()}, list(found))
    return [
        MetricComparison(
            metric=metric,
            first=cells[first, metric],
            second=cells[second, metric],
            compared=compared,
            p_adjusted=adjusted[metric],
        )
        for metric, compared in found.items()
    ]


def comparison_table(comparisons: Sequence[MetricComparison], first: str, second: str) -> pd.DataFrame:
    """One row per metric: both values, the difference and its interval, P(second better), p by Holm, dyads."""
    rows = []
    for each in comparisons:
        unit = METRICS[each.metric].unit
        low, high = each.compared.improvement.low, each.compared.improvement.high
        chance = each.compared.improvement.value
        rows.append(
            {
                "": titled(each.metric),
                first: _value(each.first, unit),
                second: _value(each.second, unit),
                "difference": _value(each.compared.difference, unit),
                "95 % interval": limits(each.compared.difference, unit),
                f"P({second} better)": "" if chance is None or not each.directed else f"{chance:.2f}",
                "interval": "" if low is None or high is None or not each.directed else f"{low:.2f} ... {high:.2f}",
                "p (Holm)": p_text(each.p_adjusted),
                "dyads": each.compared.difference.dyads,
            }
        )
    return pd.DataFrame(rows).set_index("")


def _value(estimate: Estimate, unit: str) -> str:
    return "" if estimate.value is None else number(estimate.value, unit)


def improvement_figure(comparisons: Sequence[MetricComparison], second: str) -> Svg:
    """How likely ``second`` is better in a dyad, with interval, for every metric of which one way is better."""
    shown = [each for each in comparisons if each.directed]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 0.9 + 0.26 * len(shown)), layout="constrained")
        ax = figure.subplots()
        ax.axvline(0.5, color="#999999", lw=0.8, zorder=0)
        for row, each in enumerate(shown):
            chance = each.compared.improvement
            assert chance.value is not None
            low, high = (chance.value if limit is None else limit for limit in (chance.low, chance.high))
            colour = BETTER if low > 0.5 else WORSE if high < 0.5 else OPEN
            ax.plot([low, high], [row, row], color=colour, lw=2.5, alpha=0.5, solid_capstyle="butt")
            ax.plot(chance.value, row, "o", color=colour, ms=5, clip_on=False)
            unit = METRICS[each.metric].unit
            text = f"{_signed(each.compared.difference.value, unit)} {unit}"
            ax.text(1.02, row, text, color="#444444", fontsize=8, va="center", transform=ax.get_yaxis_transform())
        ax.set_yticks(range(len(shown)), [METRICS[each.metric].title for each in shown])
        ax.set_ylim(len(shown) - 0.5, -0.5)
        ax.set_xlim(0, 1)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(f"P({second} is better in a dyad), ties count half")
        ax.set_title("difference", loc="right", fontsize=8, color="#444444", fontweight="normal", x=1.1)
        return as_svg(figure)


def _signed(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    text = number(value, unit)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"
