"""From trials to one answer per question: an effect per dyad, its interval, p-value, equivalence, power and conclusion.

D dyads   A arms   R resamples
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar_lab.evaluation.equivalence import MIN_DYADS, Conclusion, equivalence_test
from avatar_lab.evaluation.experiment import Expected, Experiment, Question
from avatar_lab.evaluation.outcomes import CONTROL, Trial
from avatar_lab.evaluation.permutation import Alternative, arm_exchange_test, partner_exchange_test, sign_flip_test
from avatar_lab.evaluation.pooled_outcomes import Placement, Shift, advantage, exchanged_slope, slope_statistic
from avatar_lab.evaluation.power import power_of_equivalence, power_of_mean
from avatar_lab.evaluation.statistics import Array, Estimate, cluster_bootstrap, mean_of
from avatar_lab.evaluation.treatments import Delay

MOVES = (0.5, 1.5)
"""Between these slopes a response moves with its cue."""
EXCHANGES = 1000
DIRECTIONS = {Expected.INCREASES: Alternative.GREATER, Expected.DECREASES: Alternative.LESS}
OUTPUT = "output"
"""The question to those who cannot perceive the difference: is the output the same to the bit?"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question to one agent, before the family of all tests is looked at.

    control, treated  means over dyads; ``None`` where the outcome is no pair of numbers
    p                 of the direction that is asked for; ``None`` where nothing is tested
    equivalence       conclusion on "unchanged" or "not inferior"
    power             to find the planned effect, or to show equivalence if nothing changes, given the dyads' spread
    """

    experiment: str
    question: str
    expected: Expected
    unit: str
    effect: Estimate
    control: float | None = None
    treated: float | None = None
    p: float | None = None
    equivalence: Conclusion | None = None
    margin: float | None = None
    power: float | None = None
    units: int
    reason: str | None = None
    """Why there is no answer."""
    given: bool = False
    """The script decides it, so that the agent was not asked."""


def answer(experiment: Experiment, question: Question, trials: Sequence[Trial], *, edges: bool, seed: int) -> Answer:
    """The answer to one question.

    edges  whether the world has the edge that the expectation rests on; without it, nothing may change
    """
    expected = question.expected if edges else Expected.UNCHANGED
    if isinstance(question.outcome, Shift):
        return _shift(experiment, question, question.outcome, trials, expected, seed)
    if isinstance(question.outcome, Placement):
        return _placement(experiment, question, question.outcome, trials, expected, seed)
    pairs: dict[str, list[tuple[float, float]]] = {}
    for trial in trials:
        pair = question.outcome.pair(trial, question.arm)
        if pair is not None:
            pairs.setdefault(trial.unit.dyad, []).append(pair)
    means_D2 = np.array([np.mean(own, axis=0) for own in pairs.values()], dtype=np.float64).reshape(-1, 2)
    control_D, treated_D = means_D2.T
    same = all(trial.arms[CONTROL].digest == trial.arms[question.arm].digest for trial in trials)
    found = _paired(question, expected, control_D, treated_D, same=same, seed=seed)
    return Answer(
        experiment=experiment.name,
        question=question.name,
        expected=expected,
        unit=question.outcome.unit,
        units=sum(map(len, pairs.values())),
        **found,
    )


def _paired(
    question: Question, expected: Expected, control_D: Array, treated_D: Array, *, same: bool, seed: int
) -> dict:
    """Statistics of treated - control, dyad by dyad."""
    effects_D, num = treated_D - control_D, len(control_D)
    if not num:
        return {"effect": cluster_bootstrap(mean_of(effects_D), 0, seed=seed), "reason": "no unit determines it"}
    found = {
        "effect": cluster_bootstrap(mean_of(effects_D), num, seed=seed),
        "control": float(control_D.mean()),
        "treated": float(treated_D.mean()),
    }
    spread = float(effects_D.std(ddof=1)) if num > 1 else 0.0
    if expected in DIRECTIONS:
        found["p"] = sign_flip_test(effects_D, seed=seed, alternative=DIRECTIONS[expected])
        found["power"] = power_of_mean(abs(question.planned), spread, num)
    elif expected in (Expected.UNCHANGED, Expected.NOT_INFERIOR):
        relative = expected is Expected.NOT_INFERIOR
        losses_D = treated_D - (1 - question.margin) * control_D if relative else effects_D
        result = equivalence_test(
            mean_of(losses_D),
            num,
            low_margin=0.0 if relative else -question.margin,
            high_margin=np.inf if relative else question.margin,
            seed=seed,
            largest_effect=None if same else question.largest,
        )
        margin = question.margin * abs(float(control_D.mean())) if relative else question.margin
        found |= {"p": result.p, "equivalence": result.conclusion, "margin": margin}
        found["power"] = power_of_equivalence(spread, num, margin) if margin > 0 else 0.0
    return found


def _shift(
    experiment: Experiment, question: Question, shift: Shift, trials: Sequence[Trial], expected: Expected, seed: int
) -> Answer:
    """Slope of the response's lag on the delay of the stream, over all arms of the experiment."""
    delays = {
        name: treatment.exact_seconds(trials[0].layout)
        for name, treatment in experiment.arms.items()
        if isinstance(treatment, Delay)
    }
    dyads = sorted({trial.unit.dyad for trial in trials})
    excess_DAN = shift.curves(trials, [CONTROL, *delays], dyads)
    delays_A = np.array([0.0, *delays.values()])
    effect = cluster_bootstrap(slope_statistic(excess_DAN, delays_A), len(dyads), seed=seed, resamples=EXCHANGES)
    p = None
    if effect.defined:
        p = arm_exchange_test(
            lambda places_RDA: exchanged_slope(excess_DAN, delays_A, places_RDA),
            num_dyads=len(dyads),
            num_arms=len(delays_A),
            seed=seed,
            draws=EXCHANGES,
        )
    return Answer(
        experiment=experiment.name,
        question=question.name,
        expected=expected,
        unit=shift.unit,
        effect=effect,
        p=p,
        units=len(trials),
        reason=None if effect.defined else "the control shows no response that could move",
    )


def _placement(
    experiment: Experiment,
    question: Question,
    placement: Placement,
    trials: Sequence[Trial],
    expected: Expected,
    seed: int,
) -> Answer:
    """Own user's cues against everybody else's, by exchanging partners."""
    dyads = sorted({trial.unit.dyad for trial in trials})
    table_DD = placement.table(trials, dyads)
    effects_D = advantage(table_DD)
    effects_D = effects_D[np.isfinite(effects_D)]
    enough = len(dyads) >= MIN_DYADS and len(effects_D) > 0
    return Answer(
        experiment=experiment.name,
        question=question.name,
        expected=expected,
        unit=placement.unit,
        effect=cluster_bootstrap(mean_of(effects_D), len(effects_D), seed=seed),
        p=partner_exchange_test(table_DD, seed=seed, draws=EXCHANGES) if enough else None,
        power=power_of_mean(question.planned, float(effects_D.std()), len(effects_D)) if enough else None,
        units=len(trials),
        reason=None if enough else f"partners of fewer than {MIN_DYADS} dyads cannot be exchanged",
    )


def same_to_the_bit(experiment: Experiment, trials: Sequence[Trial]) -> Answer:
    """For an agent that cannot perceive the difference: its output does not change at all."""
    changed = [
        float(trial.arms[CONTROL].digest != trial.arms[arm].digest) for trial in trials for arm in experiment.arms
    ]
    share = float(np.mean(changed))
    return exact(experiment.name, OUTPUT, changed=share, units=len(changed))


def exact(experiment: str, question: str, *, changed: float, units: int, reason: str | None = None) -> Answer:
    """Share of comparisons that differ, which must be 0."""
    return Answer(
        experiment=experiment,
        question=question,
        expected=Expected.BIT_EXACT,
        unit="share",
        effect=Estimate(value=changed, low=None, high=None, dyads=0),
        units=units,
        reason=reason,
    )


def not_asked(experiment: Experiment, question: Question) -> Answer:
    """For an agent whose turns are given: what its script decides says nothing about it."""
    return Answer(
        experiment=experiment.name,
        question=question.name,
        expected=question.expected,
        unit=question.outcome.unit,
        effect=Estimate(value=None, low=None, high=None, dyads=0),
        units=0,
        reason="the script decides when the avatar speaks: ask an agent without one",
        given=True,
    )


def passes(answer: Answer, p_adjusted: float | None, *, alpha: float) -> bool | None:
    """Whether the answer is what was expected; ``None`` where that is not judged, or not determined."""
    if answer.effect.value is None or answer.reason is not None:
        return None
    if answer.expected is Expected.BIT_EXACT:
        return answer.effect.value == 0
    if answer.expected is Expected.REPORTED:
        return None
    if answer.expected in DIRECTIONS:
        return p_adjusted is not None and p_adjusted <= alpha
    if answer.expected is Expected.MOVES:
        low, high = answer.effect.low, answer.effect.high
        inside = low is not None and high is not None and MOVES[0] <= low and high <= MOVES[1]
        return inside and p_adjusted is not None and p_adjusted <= alpha
    return answer.equivalence is Conclusion.EQUIVALENT
