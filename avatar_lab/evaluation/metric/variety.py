"""Does the motion vary as much, and as smoothly, as the recorded one?

An average face has the least squared error; these ratios to the truth show it. No units; nearest to 1 is best unless
said otherwise. Representation: whatever columns are given; columns of one call share a unit.

    T frames   D dimensions   N frames of all clips   K clusters
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2, vq

from avatar_lab.evaluation.metric.undefined import Array, Undefined, require_equal_lengths, unfit

_ORDER = 3


def variance_ratio(truth_TD: Array, made_TD: Array) -> float | Undefined:
    """Mean over dimensions of the variance over time, made over true; 0 is frozen, above 1 restless.

    (Ng et al. 2022, arXiv:2204.08451, give the variance itself.) Undefined: two frames at least, a truth that does not
    move, values that are not finite.

    Raises:
        ValueError: the shapes differ.
    """
    require_equal_lengths(truth=truth_TD, made=made_TD)
    if why := unfit({"truth": truth_TD}, min_frames=2) or unfit({"made": made_TD}, min_frames=2, moving=False):
        return why
    return float(made_TD.var(0).mean() / truth_TD.var(0).mean())


def jerk_ratio(truth_TD: Array, made_TD: Array) -> float | Undefined:
    """Mean length of the third difference over time, made over true; below 1 too smooth, above 1 jittery.

    Jerk as smoothness of movement: Flash & Hogan 1985, J. Neurosci. 5. Undefined: fewer than four frames, a truth
    without jerk, values that are not finite.

    Raises:
        ValueError: the shapes differ.
    """
    require_equal_lengths(truth=truth_TD, made=made_TD)
    fit = unfit({"truth": truth_TD}, min_frames=_ORDER + 1)
    if why := fit or unfit({"made": made_TD}, min_frames=_ORDER + 1, moving=False):
        return why
    true_jerk, made_jerk = _jerk(truth_TD).mean(), _jerk(made_TD).mean()
    if true_jerk <= 1e-9 * np.abs(truth_TD).max():
        return Undefined("truth moves without any jerk")
    return float(made_jerk / true_jerk)


def seam_jerk(made_TD: Array, *, block_frames: int) -> float | Undefined:
    """Jerk where the third difference spans the edge of a block over jerk inside blocks; 1 is seamless, more is a seam.

    Block ``b`` starts at frame ``b * block_frames``. Undefined: fewer than two whole blocks, blocks of fewer than four
    frames (nothing lies inside), no jerk inside blocks, values that are not finite.
    """
    if block_frames <= _ORDER:
        return Undefined(f"a block of {block_frames} frames holds no third difference")
    if why := unfit({"motion": made_TD}, min_frames=2 * block_frames):
        return why
    jerk_T = _jerk(made_TD)
    first_T = np.arange(len(jerk_T))
    spans_T = first_T // block_frames != (first_T + _ORDER) // block_frames
    inside = jerk_T[~spans_T].mean()
    if inside <= 1e-9 * np.abs(made_TD).max():
        return Undefined("motion inside blocks has no jerk")
    return float(jerk_T[spans_T].mean() / inside)


@dataclass(frozen=True, kw_only=True)
class ShannonIndex:
    """Entropy of how often each cluster of the truth is visited, in bits, up to ``most = log2(K)``."""

    made_bits: float
    truth_bits: float
    most: float

    @property
    def ratio(self) -> float:
        """Made over true; nearest to 1 is best."""
        return self.made_bits / self.truth_bits


def shannon_index(
    truth: Sequence[Array], made: Sequence[Array], *, clusters: int, seed: int
) -> ShannonIndex | Undefined:
    """SID: k-means on the frames of the *truth*, in units of its standard deviations, then the entropy of the clusters
    that frames of either side fall into (Ng et al. 2022, arXiv:2204.08451; clusters of the prediction, as in some
    published code, would give a collapsed prediction the highest score).

    Undefined: fewer than ten true frames per cluster, a truth that does not move or visits one cluster only, values
    that are not finite.

    Raises:
        ValueError: fewer than two clusters, or clips of different dimensions.
    """
    if clusters < 2:
        raise ValueError(f"clusters={clusters}: entropy needs two at least")
    if len({clip.shape[1] for clip in (*truth, *made)}) > 1:
        raise ValueError("clips differ in dimensions; give the same representation of both sides")
    if not truth or not made:
        return Undefined("there are no clips")
    true_ND, made_ND = np.concatenate(truth), np.concatenate(made)
    fit = unfit({"truth": true_ND}, min_frames=10 * clusters)
    if why := fit or unfit({"made": made_ND}, min_frames=1, moving=False):
        return why
    mean_D, spread_D = true_ND.mean(0), true_ND.std(0)
    moving_D = spread_D > 0
    true_ND, made_ND = ((x_ND - mean_D)[:, moving_D] / spread_D[moving_D] for x_ND in (true_ND, made_ND))
    centres_KD, _ = kmeans2(true_ND, clusters, minit="++", seed=np.random.default_rng(seed))
    truth_bits, made_bits = _entropy(true_ND, centres_KD), _entropy(made_ND, centres_KD)
    if truth_bits == 0:
        return Undefined("truth visits one cluster only")
    return ShannonIndex(made_bits=made_bits, truth_bits=truth_bits, most=float(np.log2(clusters)))


def _entropy(x_ND: Array, centres_KD: Array) -> float:
    """Entropy in bits of the nearest centres."""
    count_K = np.bincount(vq(x_ND, centres_KD)[0])
    share_K = count_K[count_K > 0] / len(x_ND)
    return float(-(share_K * np.log2(share_K)).sum())


def _jerk(x_TD: Array) -> Array:
    """Length of the third difference, (T - 3,); one dimension may be given as (T,)."""
    return np.linalg.norm(np.diff(x_TD.reshape(len(x_TD), -1), n=_ORDER, axis=0), axis=1)
