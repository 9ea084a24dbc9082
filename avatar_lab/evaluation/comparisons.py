"""Which agents are compared with which on the same dyads, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from avatar_lab.evaluation.agents import MODEL_AGENTS, Agent, ModelAgent
from avatar_lab.evaluation.estimates import usable
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.paired import Comparison, compare_paired

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


def compare_agents(samples: pd.DataFrame, agents: Mapping[str, Agent], *, seed: int) -> list[Pair]:
    """Each level with the one below, and each further checkpoint with the shipped agent of its level."""
    pairs = []
    for first, second in _partners(agents):
        for metric in COMPARED:
            values = [by_dyad(samples[samples.agent == agent], metric) for agent in (first, second)]
            if not values[0].keys() & values[1].keys():
                continue
            better = METRICS[metric].higher_better is not False
            compared = compare_paired(values[0], values[1], higher_better=better, seed=seed)
            pairs.append(Pair(first=first, second=second, metric=metric, comparison=compared))
    return pairs


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
