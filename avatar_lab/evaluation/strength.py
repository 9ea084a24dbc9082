"""The bars of distillation: the few-step student beside the model of many steps that it was distilled from.

They are judged where an evaluation holds an agent ``many_steps`` (suite ``strength``): the student must answer its user
as often, move as much and sound as well, and beat the same model in as few steps (``equal_steps``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from avatar_lab.evaluation.bars import Cells, Verdict

STUDENT, MANY_STEPS, EQUAL_STEPS = "level3", "many_steps", "equal_steps"
RESPONSES = ("nod_response", "backchannel_response", "smile_response")
RATES = ("nod_rate", "backchannel_rate", "smile_rate", "blink_rate")
OF_MANY_STEPS, OF_DELAYED_ORACLE = 0.95, 0.8
MIN_VARIANCE, MORE_VARIANCE = 0.75, 0.1
FD_FACTOR = 1.5
MIN_DYADS = 200


def judge_strength(cells: Cells, latencies: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """Verdicts on all bars of distillation; none where ``many_steps`` or the student was not evaluated.

    latencies  by agent, as ``latency.measure_latency`` gives them
    """
    if any((agent, RESPONSES[0]) not in cells for agent in (MANY_STEPS, STUDENT)):
        return []
    verdicts = []
    for metric in RESPONSES:
        for other, share in ((MANY_STEPS, OF_MANY_STEPS), ("delayed_oracle", OF_DELAYED_ORACLE)):
            own, bound = _values(cells, metric, STUDENT, other)
            passed = None if own is None or bound is None else own >= share * bound
            verdicts.append(_verdict(metric, f">= {share:g} x {other}", _shown(cells, metric, STUDENT, other), passed))
    own, few = _values(cells, "head_variance_ratio", STUDENT, EQUAL_STEPS)
    enough = None if own is None else own >= MIN_VARIANCE
    more = None if own is None or few is None else own >= few + MORE_VARIANCE
    shown = _shown(cells, "head_variance_ratio", STUDENT, EQUAL_STEPS)
    verdicts.append(_verdict("head_variance_ratio", f">= {MIN_VARIANCE:g}", shown[:1], enough))
    verdicts.append(_verdict("head_variance_ratio", f">= {EQUAL_STEPS} + {MORE_VARIANCE:g}", shown, more))
    for metric, factor in (("face_fd", FD_FACTOR), ("own_sound_fd", 1.0)):
        verdicts.append(_above_floor(cells, metric, factor))
    for metric in RATES:
        verdicts.append(_as_near_to_people(cells, metric, (metric, "oracle")))
    verdicts.append(_as_near_to_people(cells, "own_token_nll", ("own_token_nll_truth", STUDENT)))
    cost = [latencies.get(agent, {}).get("block_p50_ms") for agent in (STUDENT, MANY_STEPS)]
    faster = None if cost[0] is None or cost[1] is None else cost[0] < cost[1]
    verdicts.append(_verdict("block_p50_ms", f"< {MANY_STEPS}'s, codecs included", map(_text, cost), faster))
    dyads = _dyads(cells)
    verdicts.append(_verdict("dyads", f">= {MIN_DYADS}", [str(dyads)], dyads >= MIN_DYADS))
    return verdicts


def _dyads(cells: Cells) -> int:
    cell = cells.get((STUDENT, RATES[0]))
    return 0 if cell is None else cell.estimate.dyads


def _above_floor(cells: Cells, metric: str, factor: float) -> Verdict:
    """A distance less its floor, which is that of people from people, against that of many steps."""
    (own, many), (floor,) = _values(cells, metric, STUDENT, MANY_STEPS), _values(cells, f"{metric}_floor", STUDENT)
    rule = f"above its floor <= {factor:g} x {MANY_STEPS}'s"
    if own is None or many is None or floor is None:
        return _verdict(metric, rule, map(_text, (own, many)), None)
    above = [max(value - floor, 0.0) for value in (own, many)]
    return _verdict(metric, rule, map(_text, above), above[0] <= factor * above[1])


def _as_near_to_people(cells: Cells, metric: str, truth: tuple[str, str]) -> Verdict:
    """Within the interval of many steps, or nearer than these are to the recorded people: ``truth`` (metric, agent)."""
    own, many = _values(cells, metric, STUDENT, MANY_STEPS)
    (people,) = _values(cells, *truth)
    rule = f"within {MANY_STEPS}'s interval, or nearer to people"
    shown = [*_shown(cells, metric, STUDENT, MANY_STEPS), _text(people)]
    if own is None or many is None or people is None:
        return _verdict(metric, rule, shown, None)
    limits = cells[MANY_STEPS, metric].estimate
    within = limits.low is not None and limits.high is not None and limits.low <= own <= limits.high
    return _verdict(metric, rule, shown, within or abs(own - people) <= abs(many - people))


def _values(cells: Cells, metric: str, *agents: str) -> tuple[float | None, ...]:
    found = (cells.get((agent, metric)) for agent in agents)
    return tuple(None if cell is None else cell.estimate.value for cell in found)


def _shown(cells: Cells, metric: str, *agents: str) -> list[str]:
    """Values with their intervals, where they have any."""
    texts = []
    for agent in agents:
        cell = cells.get((agent, metric))
        low, high = (None, None) if cell is None else (cell.estimate.low, cell.estimate.high)
        limits = "" if low is None or high is None or low == high else f" ({low:.3g} ... {high:.3g})"
        texts.append(_text(None if cell is None else cell.estimate.value) + limits)
    return texts


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"


def _verdict(metric: str, rule: str, shown: Iterable[str], passed: bool | None) -> Verdict:
    return Verdict(agent=STUDENT, metric=metric, rule=rule, observed=" against ".join(shown), passed=passed)
