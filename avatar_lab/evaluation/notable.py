"""Which conversations deserve to be looked at: where an agent does worst, and where two agents differ most.

Values are compared with those of the same agent in other conversations (robust z-scores: distance from the median in
units of the median absolute deviation), so that metrics of different units can be added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.rows import Status, samples_df
from avatar_lab.evaluation.runner import TRUTH
from avatar_lab.evaluation.studio import Studio
from avatar_lab.evaluation.summary import write_json

JUDGED = (
    "lip_sync_correlation",
    "nod_placement_auc",
    "backchannel_placement_auc",
    "smile_placement_auc",
    "head_variance_ratio",
    "head_seam_jerk",
)
"""Metrics that say how good one conversation is; a variance ratio is worse the further it is from 1."""
DIFFERING = ("nod_rate", "backchannel_rate", "smile_rate", "head_variance_ratio", "lip_sync_correlation")
_CLIP = 4.0


@dataclass(frozen=True, kw_only=True)
class Notable:
    """A sample, whose film to watch, and why."""

    sample: str
    agent: str
    why: str


def worst(samples: pd.DataFrame, agent: str, *, count: int) -> list[Notable]:
    """The ``count`` samples in which an agent is furthest below itself."""
    table = _table(samples, agent, JUDGED)
    if "head_variance_ratio" in table:
        table["head_variance_ratio"] = -np.log(table["head_variance_ratio"].clip(lower=1e-3)).abs()
    signed = pd.DataFrame(
        {name: _z(table[name]) * (-1 if METRICS[str(name)].higher_better is False else 1) for name in table}
    )
    score = signed.mean(axis=1)
    found = []
    for sample in score.sort_values().index[:count]:
        lowest = str(signed.loc[sample].astype(float).idxmin())
        found.append(
            Notable(sample=str(sample), agent=agent, why=f"worst of {agent}, by {METRICS[lowest].title} above all")
        )
    return found


def most_disagreeing(samples: pd.DataFrame, pair: Sequence[str], *, count: int) -> list[Notable]:
    """The ``count`` samples in which two agents differ most; both are named."""
    first, second = pair
    tables = [_table(samples, agent, DIFFERING) for agent in pair]
    both = tables[0].index.intersection(tables[1].index)
    columns = [name for name in tables[0] if name in tables[1]]
    change = tables[1].loc[both, columns] - tables[0].loc[both, columns]
    distance = pd.DataFrame({name: _z(change[name]).abs() for name in columns})
    found = []
    for sample in distance.mean(axis=1).sort_values(ascending=False).index[:count]:
        largest = str(distance.loc[sample].astype(float).idxmax())
        why = f"{first} and {second} differ most, by {METRICS[largest].title} above all"
        found += [Notable(sample=str(sample), agent=agent, why=why) for agent in pair]
    return found


def film_notable(studio: Studio, *, out: Path, count: int) -> None:
    """Film notable conversations of the levels, beside the recorded people, and say in ``notable.json`` why."""
    samples = samples_df(out / "rows")
    measured = set(samples[samples.status == Status.OK].agent)
    levels = [name for name in ("level1", "level2", "level3") if name in measured]
    found = worst(samples, levels[-1], count=count) if levels else []
    if {"level2", "level3"} <= measured:
        found += most_disagreeing(samples, ("level2", "level3"), count=count)
    numbers = {conversation.name: number for number, conversation in enumerate(studio.conversations)}
    for one in found:
        for name in (one.agent, TRUTH):
            studio.film(studio.agents[name], [numbers[one.sample]])
    write_json(out / "notable.json", [asdict(one) for one in found])


def _table(samples: pd.DataFrame, agent: str, metrics: Sequence[str]) -> pd.DataFrame:
    """Samples x metrics of one agent; metrics without any value are left out."""
    kept = samples[(samples.agent == agent) & (samples.status == Status.OK) & samples.metric.isin(metrics)]
    return kept.pivot_table(index="sample_id", columns="metric", values="value")


def _z(values: pd.Series) -> pd.Series:
    """Robust z-scores, clipped; 0 where there is no value or no spread."""
    spread = 1.4826 * (values - values.median()).abs().median()
    if not spread > 0:
        return values * 0.0
    return ((values - values.median()) / spread).clip(-_CLIP, _CLIP).fillna(0.0)
