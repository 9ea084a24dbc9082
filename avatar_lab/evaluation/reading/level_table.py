"""Every metric of every agent with its interval, as a table to look at and as numbers to draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from avatar_lab.evaluation.digits import limits, number
from avatar_lab.evaluation.estimates import AgentMetric, columns_of, estimate_metric
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.reading.result import Result
from avatar_lab.evaluation.rows import Status


def measured_metrics(result: Result) -> list[str]:
    """Metrics that have rows, in the order in which they are described."""
    there = set(result.samples.metric)
    return [name for name in METRICS if name in there]


def estimates(result: Result, metrics: Sequence[str], agents: Sequence[str] | None = None) -> list[AgentMetric]:
    """One estimate per agent and metric."""
    found = []
    for agent in result.agents if agents is None else agents:
        own = result.of(agent)
        parts = dict(list(own.groupby("metric", sort=False)))
        for metric in metrics:
            rows = [parts[name] for name in columns_of(metric) if name in parts]
            samples = pd.concat(rows) if rows else own.iloc[:0]
            found.append(estimate_metric(samples, agent=agent, metric=metric, seed=result.seed))
    return found


def level_table(result: Result, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Metrics down, agents across: value and 95 % interval by dyad, or why there is none."""
    metrics = measured_metrics(result) if metrics is None else metrics
    cells = {(cell.metric, cell.agent): cell for cell in estimates(result, metrics)}
    status = result.samples.groupby(["metric", "agent"]).status.first().to_dict()
    missing = {name: _status_without_rows(result.of(name)) for name in result.agents}
    table = {
        agent.title: [cell_text(cells[metric, name], status.get((metric, name), missing[name])) for metric in metrics]
        for name, agent in result.agents.items()
    }
    return pd.DataFrame(table, index=pd.Index([titled(metric) for metric in metrics]))


def _status_without_rows(own: pd.DataFrame) -> str:
    """An agent that is unavailable has rows of the main metrics only."""
    return str(Status.UNAVAILABLE) if set(own.status) == {Status.UNAVAILABLE} else "no rows"


def titled(metric: str) -> str:
    """Title and unit; an arrow where one way is better."""
    described = METRICS[metric]
    arrow = {True: " ↑", False: " ↓", None: ""}[described.higher_better]
    return f"{described.title} [{described.unit}]{arrow}"


def cell_text(cell: AgentMetric, status: str) -> str:
    """``.52 (.42 ... .61)``; where there is no value, the status."""
    estimate = cell.estimate
    if estimate.value is None:
        return status if status != Status.OK else str(Status.UNDEFINED)
    if estimate.low is None or estimate.high is None:
        return f"{number(estimate.value, cell.unit)} (one dyad)"
    return f"{number(estimate.value, cell.unit)} ({limits(estimate, cell.unit)})"


def definitions(result: Result) -> pd.DataFrame:
    """What the metrics of a result are."""

    def rows() -> Iterator[dict[str, str]]:
        for name in measured_metrics(result):
            yield {"metric": titled(name), "is": METRICS[name].about, "read from": METRICS[name].representation}

    return pd.DataFrame(rows()).set_index("metric")
