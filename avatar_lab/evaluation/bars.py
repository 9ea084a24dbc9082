"""The bars of one run: what each agent must reach, as data, and the verdict on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from avatar_lab.evaluation.estimates import AgentMetric

Cells = dict[tuple[str, str], AgentMetric]
"""(agent, metric) to estimate."""

REACTION_SHARE = 0.5
LIP_SYNC_SHARE = 0.8
FORBIDDEN_LIMIT = 0.15
CONTROL_LIMIT = 0.1
LAG_LIMIT_MS = 80.0
REAL_TIME_LIMIT = 0.5
BLOCK_P95_LIMIT_MS = 160.0
MODELS = ("level1", "level2", "level3", "level3_camera_off", "teacher")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One bar: ``passed`` is ``None`` where a number it needs is missing."""

    agent: str
    metric: str
    rule: str
    observed: str
    passed: bool | None


def judge(cells: Cells, latency: dict[str, float] | None) -> list[Verdict]:
    """Verdicts on all bars, for the agents that are there."""
    verdicts = []
    for agent, metrics in (
        ("level2", ("nod_response", "backchannel_response")),
        ("level3", ("nod_response", "backchannel_response", "smile_response")),
    ):
        for metric in metrics:
            verdicts.append(_reaction(cells, agent, metric))
    for agent, metric in (
        ("level1", "nod_response"),
        ("level1", "backchannel_response"),
        ("level2", "smile_response"),
        ("level3_camera_off", "smile_response"),
    ):
        rule = f"upper limit <= {FORBIDDEN_LIMIT:g} (cannot perceive the cue)"
        verdicts.append(_single(cells, agent, metric, rule, _forbidden))
    for agent in MODELS:
        rule = f"interval within +-{CONTROL_LIMIT:g} (no edge)"
        verdicts.append(_single(cells, agent, "blink_response", rule, _control))
    for agent in MODELS:
        verdicts.append(_lip_sync(cells, agent))
        verdicts.append(_single(cells, agent, "lip_sync_lag_ms", f"|lag| <= {LAG_LIMIT_MS:g} ms", _lag))
    if latency is not None:
        for metric, limit in (("real_time_factor", REAL_TIME_LIMIT), ("block_p95_ms", BLOCK_P95_LIMIT_MS)):
            value = latency[metric]
            rule = f"< {limit:g}, codecs included"
            verdicts.append(
                Verdict(agent="level3", metric=metric, rule=rule, observed=f"{value:.3g}", passed=value < limit)
            )
    return [verdict for verdict in verdicts if (verdict.agent, "blink_response") in cells]


def _reaction(cells: Cells, agent: str, metric: str) -> Verdict:
    """At least half of the delayed oracle's response, and clearly above the right rates at the wrong times."""
    rule = f">= {REACTION_SHARE:g} x delayed oracle, lower limit > yoked"
    own = cells.get((agent, metric))
    bound, yoked = cells.get(("delayed_oracle", metric)), cells.get(("yoked", metric))
    if own is None or bound is None or yoked is None:
        return Verdict(agent=agent, metric=metric, rule=rule, observed="a reference agent is missing", passed=None)
    value, low = own.estimate.value, own.estimate.low
    if value is None or low is None or bound.estimate.value is None or yoked.estimate.value is None:
        return Verdict(agent=agent, metric=metric, rule=rule, observed="undefined", passed=None)
    reach, floor = bound.estimate.value, yoked.estimate.value
    observed = f"{value:.2f} of {reach:.2f}; lower limit {low:.2f}, yoked {floor:.2f}"
    passed = value >= REACTION_SHARE * reach and low > floor
    return Verdict(agent=agent, metric=metric, rule=rule, observed=observed, passed=passed)


def _lip_sync(cells: Cells, agent: str) -> Verdict:
    metric, rule = "lip_sync_correlation", f">= {LIP_SYNC_SHARE:g} x oracle"
    own, bound = cells.get((agent, metric)), cells.get(("oracle", metric))
    if own is None or bound is None or own.estimate.value is None or bound.estimate.value is None:
        return Verdict(agent=agent, metric=metric, rule=rule, observed="undefined", passed=None)
    observed = f"{own.estimate.value:.2f} of {bound.estimate.value:.2f}"
    passed = own.estimate.value >= LIP_SYNC_SHARE * bound.estimate.value
    return Verdict(agent=agent, metric=metric, rule=rule, observed=observed, passed=passed)


def _single(cells: Cells, agent: str, metric: str, rule: str, test: Callable[[float, float, float], bool]) -> Verdict:
    """A bar on one cell alone; ``test`` gets its value and the limits of its interval."""
    cell = cells.get((agent, metric))
    if cell is None or cell.estimate.value is None or cell.estimate.low is None or cell.estimate.high is None:
        return Verdict(agent=agent, metric=metric, rule=rule, observed="undefined", passed=None)
    value, low, high = cell.estimate.value, cell.estimate.low, cell.estimate.high
    observed = f"{value:.3g}, interval {low:.3g} ... {high:.3g}"
    return Verdict(agent=agent, metric=metric, rule=rule, observed=observed, passed=test(value, low, high))


def _forbidden(value: float, low: float, high: float) -> bool:
    return high <= FORBIDDEN_LIMIT


def _control(value: float, low: float, high: float) -> bool:
    return low >= -CONTROL_LIMIT and high <= CONTROL_LIMIT


def _lag(value: float, low: float, high: float) -> bool:
    return abs(value) <= LAG_LIMIT_MS
