"""Are the avatar's reactions where a person's were? Precision, recall and AUC of onsets in time.

Frequency alone does not make a listener (Gratch et al. 2007), so an avatar with the right rate at random times must
score chance: AUC .5. The truth is *one* listener; others would have reacted elsewhere (Blomsma et al. 2024), so even
people do not reach 1, and the scores of another listener, or of the oracle, stand beside it.

    N onsets of the avatar   M onsets of the truth   K moments at which the truth did nothing
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu

from avatar_lab.evaluation.metric.undefined import Array, Undefined

TOLERANCE = 0.5


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Shares of onsets that have a partner of the other side within the tolerance, one to one; higher is better.

    A side without onsets has no share.
    """

    precision: float | Undefined
    recall: float | Undefined
    matches: int


def placement(made_N: Array, truth_M: Array, *, tolerance: float = TOLERANCE) -> Placement | Undefined:
    """Precision and recall of onsets (seconds) within ``tolerance`` of the truth's; undefined if neither side has any.

    Matching is one to one and as large as possible: in order of time, every onset takes the first that is free. No
    true negatives are counted: a busy avatar has a high recall by chance, so read both, and ``placement_auc``.
    """
    if len(made_N) == len(truth_M) == 0:
        return Undefined("neither side has an event")
    made, truth = np.sort(made_N), np.sort(truth_M)
    matches = i = j = 0
    while i < len(made) and j < len(truth):
        if abs(made[i] - truth[j]) <= tolerance + 1e-9:
            matches, i, j = matches + 1, i + 1, j + 1
        elif made[i] < truth[j]:
            i += 1
        else:
            j += 1
    return Placement(
        precision=matches / len(made) if len(made) else Undefined("no avatar event"),
        recall=matches / len(truth) if len(truth) else Undefined("no true event"),
        matches=matches,
    )


def placement_auc(made_N: Array, truth_M: Array, elsewhere_K: Array) -> float | Undefined:
    """Probability that the avatar reacts nearer to a moment at which the truth did than to one at which it did not.

    The area under the ROC curve of the score "minus the distance to the nearest onset of the avatar", ties counted half
    (Mann & Whitney 1947); .5 is chance whatever the rate, higher is better. ``elsewhere_K`` must be alike in all else,
    for instance while the same person holds the floor. Undefined if any of the three is empty.
    """
    required = {"avatar event": made_N, "true event": truth_M, "moment without a true event": elsewhere_K}
    for name, times in required.items():
        if len(times) == 0:
            return Undefined(f"no {name}")
    near_M, far_K = nearness(made_N, truth_M), nearness(made_N, elsewhere_K)
    return float(mannwhitneyu(near_M, far_K, method="asymptotic").statistic / (len(near_M) * len(far_K)))


def nearness(onsets_N: Array, times_M: Array) -> Array:
    """Minus the seconds from each time to the nearest onset, (M,); there must be an onset."""
    onsets_N = np.sort(onsets_N)
    right_M = np.searchsorted(onsets_N, times_M).clip(0, len(onsets_N) - 1)
    left_M = (right_M - 1).clip(0)
    return -np.minimum(np.abs(times_M - onsets_N[left_M]), np.abs(times_M - onsets_N[right_M]))
