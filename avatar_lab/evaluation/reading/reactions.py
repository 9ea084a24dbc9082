"""What agents do after a cue of the user: event-locked curves beside the references, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from avatar_lab.evaluation.agents import ReferenceAgent
from avatar_lab.evaluation.digits import number, p_text
from avatar_lab.evaluation.intervention_rows import interventions_df
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.plots import ResponseCurve, draw_curve, draw_window
from avatar_lab.evaluation.reading.level_table import cell_text, estimates
from avatar_lab.evaluation.reading.result import Result
from avatar_lab.evaluation.report import response_curves
from avatar_lab.evaluation.responses import CURVE_BIN, RESPONSES, Response, curve_bins
from avatar_lab.evaluation.rows import Status
from avatar_lab.evaluation.statistics import Estimate
from avatar_lab.figure_style import STYLE, Svg, as_svg

BOUND = "delayed_oracle"
"""What an agent can reach that perceives the user as late as the models do."""
LEAST_HEIGHT = 0.4
"""Onsets per second; on a finer scale noise would look like an answer."""


def curves_figure(result: Result, metrics: Sequence[str]) -> Svg:
    """One row per response: the references on the left, the models on the right, on one scale.

    A curve is the rate of onsets around cues minus the rate after matched moments without a cue, so the base rate of
    an agent does not lift it. The shaded window is where an answer counts.

    Raises:
        ValueError: a metric is no response.
    """
    for metric in metrics:
        response_of(metric)
    curves = response_curves(result.folder, result.samples, result.agents)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 0.9 + 2.5 * len(metrics)), layout="constrained")
        axes = figure.subplots(len(metrics), 2, sharex=True, sharey="row", squeeze=False)
        for row, metric in zip(axes, metrics, strict=True):
            for ax, references in zip(row, (True, False), strict=True):
                draw_window(ax)
                shown = [each for each in curves[metric] if _is_reference(result, each) is references]
                bound = [] if references else [each for each in curves[metric] if each.agent == BOUND]
                for curve in (*bound, *shown):
                    draw_curve(ax, curve, result.agents[curve.agent], seed=result.seed)
                ax.set_title(f"{METRICS[metric].title}: {'references' if references else 'models'}")
            low, high = row[0].get_ylim()
            row[0].set_ylim(min(low, -LEAST_HEIGHT / 4), max(high, LEAST_HEIGHT))
            row[0].set_ylabel("excess onsets per second")
        for ax in axes[-1]:
            ax.set_xlabel("seconds since the user's cue")
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3)
        return as_svg(figure)


def _is_reference(result: Result, curve: ResponseCurve) -> bool:
    return isinstance(result.agents[curve.agent], ReferenceAgent)


def response_of(metric: str) -> Response:
    """The response behind a metric.

    Raises:
        ValueError: it is none.
    """
    for response in RESPONSES:
        if response.metric == metric:
            return response
    raise ValueError(f"{metric} is no response; there are {[response.metric for response in RESPONSES]}")


def response_table(result: Result, metric: str) -> pd.DataFrame:
    """One row per agent: how often the behaviour follows the cue and follows nothing, the difference, when it peaks.

    Raises:
        ValueError: the metric is no response.
    """
    response = response_of(metric)
    names = (metric, f"{response.name}_after_cue", f"{response.name}_without_cue")
    cells = {(cell.agent, cell.metric): cell for cell in estimates(result, names)}
    curves = {curve.agent: curve for curve in response_curves(result.folder, result.samples, result.agents)[metric]}
    bound = cells[BOUND, metric].estimate if BOUND in result.agents else None
    rows = []
    for name, agent in result.agents.items():
        estimate = cells[name, metric].estimate
        rows.append(
            {
                "": agent.title,
                "P(after a cue)": _pooled(result, name, names[1]),
                "P(after none)": _pooled(result, name, names[2]),
                "difference": cell_text(cells[name, metric], str(result.of(name).status.iloc[0])),
                "of the delayed oracle's": _share(estimate, bound),
                "peak": _peak(curves[name]) if _rises(estimate) else "",
                "cues": cells[name, metric].n,
            }
        )
    return pd.DataFrame(rows).set_index("")


def _pooled(result: Result, agent: str, metric: str) -> str:
    """Share over all cues (or matched moments)."""
    rows = result.of(agent)
    rows = rows[(rows.metric == metric) & (rows.status == Status.OK)]
    return "" if rows.empty else number(float((rows.value * rows.n).sum() / rows.n.sum()), METRICS[metric].unit)


def _share(estimate: Estimate, bound: Estimate | None) -> str:
    """Of what can be reached, where anything can."""
    if estimate.value is None or bound is None or bound.value is None or not _rises(bound):
        return ""
    return f"{round(100 * estimate.value / bound.value)} %"


def _rises(estimate: Estimate) -> bool:
    """Whether the behaviour follows the cue more often than nothing, beyond chance."""
    return estimate.low is not None and estimate.low > 0


def _peak(curve: ResponseCurve) -> str:
    """Where the curve is highest."""
    start = curve_bins()[curve.excess().argmax()]
    return f"{start:.1f} to {start + CURVE_BIN:.1f} s"


def interventions_table(result: Result, letters: str) -> pd.DataFrame:
    """What changed when something was done to the user: rows of the interventions that begin with one of ``letters``.

    Where none was made, one row says how to make them.
    """
    path = result.folder / "interventions.parquet"
    asked = interventions_df(path) if path.is_file() else None
    if asked is not None:
        asked = asked[asked.intervention.str[0].isin(list(letters)) & asked.agent.isin(list(result.agents))]
    if asked is None or asked.empty:
        return pd.DataFrame({"none was made": [f"evaluate with interventions=[{','.join(f'{x}1' for x in letters)}]"]})
    return pd.DataFrame(
        {
            "agent": asked.agent.map({name: agent.title for name, agent in result.agents.items()}),
            "done": asked.intervention,
            "question": asked.question,
            "expected": asked.expected,
            "effect": [_effect(row) for row in asked.to_dict("records")],
            "p (Holm)": [p_text(p) for p in asked.p_adjusted],
            "as expected": ["" if passed is None else "yes" if passed else "no" for passed in asked.passed],
        }
    ).reset_index(drop=True)


def _effect(row: dict[Hashable, Any]) -> str:
    """Value, interval and unit, or the status where there is no value."""
    if pd.isna(row["effect"]):
        return str(row["status"])
    limits = "" if pd.isna(row["ci_low"]) else f" ({row['ci_low']:.2f} ... {row['ci_high']:.2f})"
    return f"{row['effect']:.2f}{limits} {row['unit']}"
