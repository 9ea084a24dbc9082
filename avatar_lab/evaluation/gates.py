"""Gates: what a stage's checkpoint must reach before the next stage may build on it."""

from __future__ import annotations

from dataclasses import dataclass

from avatar_lab.evaluation.bars import Cells, Verdict
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.statistics import Estimate


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One bound on one metric.

    Raises:
        ValueError: the metric is unknown, or nothing or too much is asked of it.
    """

    metric: str
    at_least: float | None = None
    """Least value; with ``of``, as a share of that agent's value."""
    at_most: float | None = None
    """Greatest upper limit of the 95 % interval; with ``of``, as a share of that agent's value."""
    of: str | None = None
    """Reference agent, for instance ``delayed_oracle``."""
    above: str | None = None
    """Reference agent whose value the lower limit of the interval must exceed, for instance ``yoked``."""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"gate on unknown metric {self.metric!r}; there are {sorted(METRICS)}")
        if self.at_least is None and self.at_most is None and self.above is None:
            raise ValueError(f"the gate on {self.metric} asks nothing: give at_least, at_most or above")
        if self.of is not None and self.at_least is None and self.at_most is None:
            raise ValueError(f"the gate on {self.metric} names {self.of} but no share of it: give at_least or at_most")

    @property
    def references(self) -> set[str]:
        """Agents that must be measured beside the checkpoint."""
        return {name for name in (self.of, self.above) if name is not None}

    @property
    def rule(self) -> str:
        share = "" if self.of is None else f" x {self.of}"
        parts = [
            None if self.at_least is None else f">= {self.at_least:g}{share}",
            None if self.at_most is None else f"upper limit <= {self.at_most:g}{share}",
            None if self.above is None else f"lower limit > {self.above}",
        ]
        return ", ".join(part for part in parts if part is not None)

    def judge(self, cells: Cells, agent: str) -> Verdict:
        """Whether ``agent`` passes; a number that is missing lets nothing pass."""
        own = _estimate(cells, agent, self.metric)
        values = {name: _estimate(cells, name, self.metric) for name in self.references}
        missing = [name for name, found in {agent: own, **values}.items() if found is None or found.value is None]
        if missing or own is None or own.value is None:
            reason = f"no value of {' and '.join(missing)}"
            return Verdict(agent=agent, metric=self.metric, rule=self.rule, observed=reason, passed=None)
        reference = {
            name: found.value for name, found in values.items() if found is not None and found.value is not None
        }
        unit = 1.0 if self.of is None else reference[self.of]
        passed = (
            (self.at_least is None or own.value >= self.at_least * unit)
            and (self.at_most is None or (own.high is not None and own.high <= self.at_most * unit))
            and (self.above is None or (own.low is not None and own.low > reference[self.above]))
        )
        limits = "no interval" if own.low is None or own.high is None else f"{own.low:.3g} ... {own.high:.3g}"
        beside = "".join(f", {name} {value:.3g}" for name, value in reference.items())
        observed = f"{own.value:.3g} ({limits}){beside}"
        return Verdict(agent=agent, metric=self.metric, rule=self.rule, observed=observed, passed=passed)


def _estimate(cells: Cells, agent: str, metric: str) -> Estimate | None:
    cell = cells.get((agent, metric))
    return None if cell is None else cell.estimate
