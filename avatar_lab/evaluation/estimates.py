"""From rows to numbers with intervals: one estimate per agent and metric, dyads as clusters.

Responses pool cues over dyads, ``sum hits / sum cues - sum control hits / sum controls``, since single conversations
hold few cues; everything else averages dyads. Equal seeds resample equal dyads for all agents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.responses import RESPONSES, Response
from avatar_lab.evaluation.rows import Status
from avatar_lab.evaluation.statistics import (
    Array,
    Estimate,
    Statistic,
    cluster_bootstrap,
    difference_of_rates,
    mean_of,
)


@dataclass(frozen=True, kw_only=True)
class AgentMetric:
    """One cell of the level table. ``n`` counts cues for responses, dyads otherwise."""

    agent: str
    metric: str
    estimate: Estimate
    n: int
    reason: str | None = None
    """Why there is no value."""

    @property
    def unit(self) -> str:
        return METRICS[self.metric].unit


ESTIMATED_FROM = ("agent", "dyad_id", "metric", "value", "n", "status", "reason")
"""Columns of rows that an estimate reads."""


def estimate_metric(samples: pd.DataFrame, *, agent: str, metric: str, seed: int) -> AgentMetric:
    """Estimate from the rows of all agents."""
    rows = samples[samples.agent == agent]
    response = response_of(metric)
    if response is None:
        means = usable(rows, metric).groupby("dyad_id").value.mean()
        statistic, dyads, n = mean_of(means.to_numpy(np.float64)), len(means), len(means)
    else:
        statistic, dyads, n = contrast(rows, response.name)
    estimate = cluster_bootstrap(statistic, dyads, seed=seed)
    reasons = rows[(rows.metric == metric) & rows.reason.notna()].reason
    plugin = METRICS[metric].plugin
    absent = "no rows" if plugin is None else f"not measured: plugins=[{plugin}] does"
    reason = None if estimate.defined else (reasons.iloc[0] if len(reasons) else absent)
    return AgentMetric(agent=agent, metric=metric, estimate=estimate, n=n, reason=reason)


def columns_of(metric: str) -> tuple[str, ...]:
    """Metrics whose rows an estimate is made from."""
    response = response_of(metric)
    if response is None:
        return (metric,)
    return (metric, f"{response.name}_after_cue", f"{response.name}_without_cue")


def response_of(metric: str) -> Response | None:
    """The response that a metric is the contrast of, if it is one."""
    return next((response for response in RESPONSES if response.metric == metric), None)


def contrast(rows: pd.DataFrame, name: str) -> tuple[Statistic, int, int]:
    """Pooled difference of rates of one agent's rows, with dyads in sorted order; number of dyads and of cues."""
    parts = {}
    for part in (f"{name}_after_cue", f"{name}_without_cue"):
        used = usable(rows, part)
        parts[part] = (used.value * used.n).groupby(used.dyad_id).sum(), used.n.groupby(used.dyad_id).sum()
    (hits, cues), (control_hits, controls) = parts.values()
    dyads = cues.index.union(controls.index)

    def column(counts: pd.Series) -> Array:
        return counts.reindex(dyads, fill_value=0).to_numpy(np.float64)

    statistic = difference_of_rates(column(hits), column(cues), column(control_hits), column(controls))
    return statistic, len(dyads), int(cues.sum())


def usable(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of a metric that hold a number."""
    return rows[(rows.metric == metric) & (rows.status == Status.OK)]
