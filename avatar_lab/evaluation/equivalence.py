"""Is it unchanged? Two one-sided tests against a margin, and non-inferiority, with dyads as clusters.

"No significant change" is no evidence of no change. The two one-sided tests (Schuirmann 1987, J. Pharmacokinet.
Biopharm. 15) ask whether both ``effect <= -margin`` and ``effect >= margin`` can be rejected; at level alpha that is
whether the 1 - 2 alpha interval lies inside the margins.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from avatar_lab.evaluation.statistics import RESAMPLES, Estimate, Statistic, bootstrap

ALPHA = 0.05
MIN_DYADS = 6
"""A bootstrap of fewer clusters is too narrow to prove that nothing happens, and 2 ** -5 > .025."""


class Conclusion(StrEnum):
    EQUIVALENT = "equivalent"
    DIFFERENT = "different"
    """The whole interval lies beyond a margin."""
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """``interval`` holds the effect and its 1 - 2 alpha limits; ``p`` is the larger of the one-sided p-values."""

    interval: Estimate
    low_margin: float
    high_margin: float
    p: float | None
    conclusion: Conclusion


def equivalence_test(
    statistic: Statistic,
    num_dyads: int,
    *,
    low_margin: float,
    high_margin: float,
    seed: int,
    alpha: float = ALPHA,
    resamples: int = RESAMPLES,
    largest_effect: float | None = None,
) -> Equivalence:
    """Whether the effect lies between the margins.

    low_margin, high_margin  an infinite one makes it a test of non-inferiority
    largest_effect           of any one dyad. If all dyads agree exactly, the bootstrap knows no spread; the interval is
                             then widened by the share of dyads that may differ unseen, 1 - alpha ** (1 / D), times this
                             (the rule of three: Hanley & Lippman-Hand 1983, JAMA 249). ``None``: they agree by
                             construction, as where nothing at all was changed.

    Raises:
        ValueError: the margins do not enclose anything.
    """
    if not low_margin < high_margin:
        raise ValueError(f"margins {low_margin:g} ... {high_margin:g} enclose no effect: the first must be smaller")
    interval, draws_R = bootstrap(statistic, num_dyads, seed=seed, resamples=resamples, confidence=1 - 2 * alpha)
    if interval.value is None or interval.low is None or interval.high is None:
        return Equivalence(
            interval=interval,
            low_margin=low_margin,
            high_margin=high_margin,
            p=None,
            conclusion=Conclusion.INCONCLUSIVE,
        )
    low, high = interval.low, interval.high
    below = (1 + np.sum(draws_R <= low_margin)) / (1 + len(draws_R))
    above = (1 + np.sum(draws_R >= high_margin)) / (1 + len(draws_R))
    p = float(max(below if np.isfinite(low_margin) else 0.0, above if np.isfinite(high_margin) else 0.0))
    if low == high and largest_effect is not None:
        unseen = largest_effect * (1 - alpha ** (1 / num_dyads))
        low, high = low - unseen, high + unseen
        p = max(p, _unseen_p(interval.value, low_margin, high_margin, largest_effect, num_dyads))
    return Equivalence(
        interval=Estimate(value=interval.value, low=low, high=high, dyads=num_dyads),
        low_margin=low_margin,
        high_margin=high_margin,
        p=p,
        conclusion=_conclude(low, high, low_margin, high_margin, num_dyads),
    )


def _unseen_p(value: float, low_margin: float, high_margin: float, largest: float, num_dyads: int) -> float:
    """Chance that no dyad showed an effect, had so many shown one that the mean reached the nearer margin."""
    distance = min(value - low_margin, high_margin - value)
    return float((1 - np.clip(distance / largest, 0.0, 1.0)) ** num_dyads)


def _conclude(low: float, high: float, low_margin: float, high_margin: float, num_dyads: int) -> Conclusion:
    if num_dyads < MIN_DYADS:
        return Conclusion.INCONCLUSIVE
    if low_margin < low and high < high_margin:
        return Conclusion.EQUIVALENT
    if high < low_margin or low > high_margin:
        return Conclusion.DIFFERENT
    return Conclusion.INCONCLUSIVE
