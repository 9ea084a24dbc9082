"""Which agents are compared with which on the same dyads, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from avatar_lab.evaluation.agents import MODEL_AGENTS, Agent, ModelAgent
from avatar_lab.evaluation.digits import limits, number
from avatar_lab.evaluation.estimates import contrast, response_of, usable
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.paired import Comparison, compare_paired, difference
from avatar_lab.evaluation.statistics import cluster_bootstrap

COMPARED = (
    "lip_sync_correlation",
    "nod_response",
    "backchannel_response",
    "smile_response",
    "head_variance_ratio",
    "nod_placement_auc",
    "smile_placement_auc",
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two agents on one metric."""

    first: str
    second: str
    metric: str
    comparison: Comparison

    def __str__(self) -> str:
        change, unit = self.comparison.difference, METRICS[self.metric].unit
        text = "undefined" if change.value is None else f"{number(change.value, unit)} ({limits(change, unit)})"
        return f"{self.second} - {self.first}  {self.metric:<22} {text}  paired by dyad"


def compare_agents(samples: pd.DataFrame, agents: Mapping[str, Agent], *, seed: int) -> list[Pair]:
    """Each level with the one below, and each further checkpoint with the shipped agent of its level."""
    pairs = []
    for first, second in _partners(agents):
        rows = shared_samples(*(samples[samples.agent == agent] for agent in (first, second)))
        for metric in COMPARED:
            compared = compare_metric(*rows, metric, seed=seed)
            if compared.difference.defined:
                pairs.append(Pair(first=first, second=second, metric=metric, comparison=compared))
    return pairs


def shared_samples(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of two agents in the samples that both were judged in; possibly none."""
    common = set(first.sample_id) & set(second.sample_id) - {""}
    return first[first.sample_id.isin(common)], second[second.sample_id.isin(common)]


def compare_metric(first: pd.DataFrame, second: pd.DataFrame, metric: str, *, seed: int) -> Comparison:
    """``second`` against ``first``, given their rows in the same samples.

    A response pools its cues over dyads, as in the level table; its p and how often it is better are of dyads.
    """
    better = METRICS[metric].higher_better is not False
    compared = compare_paired(by_dyad(first, metric), by_dyad(second, metric), higher_better=better, seed=seed)
    response = response_of(metric)
    if response is None or not compared.difference.defined:
        return compared
    (before, dyads, _), (now, others, _) = (contrast(rows, response.name) for rows in (first, second))
    assert dyads == others, "cues do not depend on the agent, so both have them in the same dyads"
    return replace(compared, difference=cluster_bootstrap(difference(before, now), dyads, seed=seed))


def by_dyad(rows: pd.DataFrame, metric: str) -> dict[str, float]:
    """Mean value of each dyad in which the metric is defined, from the rows of one agent."""
    means = usable(rows, metric).groupby("dyad_id").value.mean()
    return {str(dyad): float(value) for dyad, value in means.items()}


def _partners(agents: Mapping[str, Agent]) -> Sequence[tuple[str, str]]:
    """Pairs of names, the one that should be worse first."""
    own = [agent.name for agent in MODEL_AGENTS]
    found = [(low, high) for low, high in (("level1", "level2"), ("level2", "level3")) if {low, high} <= agents.keys()]
    for name, agent in agents.items():
        if isinstance(agent, ModelAgent) and agent.scripted and name not in own:
            reference = "teacher" if agent.offline else f"level{int(agent.level)}"
            if reference in agents:
                found.append((reference, name))
    return found
