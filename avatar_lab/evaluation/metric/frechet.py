"""Frechet distance of motion: do generated frames come from the distribution of the recorded ones?

    FD = |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2))        of means m and covariances S

(Dowson & Landau 1982; for generated images Heusel et al. 2017, arXiv:1706.08500). Squared units of the representation;
lower is better; 0 for equal Gaussians. Its estimate from N frames is biased upwards, the more so the more neighbouring
frames resemble each other: two draws of one AR(.95) process of 50 dimensions and unit variance are 26 apart at N = 750.
So all clips are pooled before anything is estimated, both sides have the same N, and the distance stands beside its
floor: that of two halves of the truth. Means of distances of single clips are not offered.

    N frames   D dimensions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar_lab.evaluation.metric.undefined import Array, Undefined, require_equal_lengths, unfit

SPLITS = 8
"""Random halvings over which floor and distance at the floor's N are averaged."""


@dataclass(frozen=True, kw_only=True)
class Frechet:
    """Distances in squared units of the representation.

    distance  all truth against all that was made
    halved    half of the truth against what was made of the other half: has the floor's N, so compare it with the floor
    floor     half of the truth against the other half; what was made cannot be told from the truth below it
    """

    distance: float
    halved: float
    floor: float
    frames: int


def frechet(truth: Sequence[Array], made: Sequence[Array], *, seed: int) -> Frechet | Undefined:
    """Pooled distance of clips (N_i, D) and of what was made in their place, with the floor of the truth.

    Halves are of clips, not of frames: frames of a clip resemble each other, and a floor from frames would be too low.
    Undefined: fewer than two clips, no more frames in half of them than dimensions, values that are not finite, a truth
    that is constant.

    Raises:
        ValueError: ``made`` does not have a clip of equal shape for each of ``truth``.
    """
    if len(truth) != len(made):
        raise ValueError(f"{len(truth)} true and {len(made)} made clips; give them in pairs")
    for true_ND, made_ND in zip(truth, made, strict=True):
        require_equal_lengths(truth=true_ND, made=made_ND)
    if len(truth) < 2:
        return Undefined("the floor needs two clips at least")
    if why := unfit({"truth": np.concatenate(truth)}, min_frames=2):
        return why
    if why := unfit({"made": np.concatenate(made)}, min_frames=2, moving=False):
        return why
    rng = np.random.default_rng(seed)
    floors, halved, half = [], [], len(truth) // 2
    for _ in range(SPLITS):
        order = rng.permutation(len(truth))[: 2 * half]
        left_ND, right_ND, made_ND = (
            np.concatenate([clips[index] for index in part])
            for clips, part in ((truth, order[:half]), (truth, order[half:]), (made, order[half:]))
        )
        frames = min(len(left_ND), len(right_ND))
        if frames <= left_ND.shape[1]:
            return Undefined(f"half of the clips have {frames} frames, no more than dimensions ({left_ND.shape[1]})")
        floors.append(frechet_distance(left_ND[:frames], right_ND[:frames]))
        halved.append(frechet_distance(left_ND[:frames], made_ND[:frames]))
    return Frechet(
        distance=frechet_distance(np.concatenate(truth), np.concatenate(made)),
        halved=float(np.mean(halved)),
        floor=float(np.mean(floors)),
        frames=sum(map(len, truth)),
    )


def paired_frechet(
    user: Sequence[Array], truth: Sequence[Array], made: Sequence[Array], *, seed: int
) -> Frechet | Undefined:
    """P-FD: the same of user and avatar together, ``[x, y]`` against ``[x, made]``, so that what goes together counts.

    Ng et al. 2022 (Learning to Listen, arXiv:2204.08451). Bias and floor are those of twice the dimensions.

    Raises:
        ValueError: the clips are not given in threes of equal length.
    """
    if not len(user) == len(truth) == len(made):
        raise ValueError(f"{len(user)} user, {len(truth)} true and {len(made)} made clips; give them in threes")
    if any(not len(x) == len(y) == len(z) for x, y, z in zip(user, truth, made, strict=True)):
        raise ValueError("clips of user, truth and made differ in length; cut all to the same stretch first")
    return frechet(
        [np.concatenate(pair, axis=1) for pair in zip(user, truth, strict=True)],
        [np.concatenate(pair, axis=1) for pair in zip(user, made, strict=True)],
        seed=seed,
    )


def frechet_distance(left_ND: Array, right_ND: Array) -> float:
    """Distance of the Gaussians with the means and (unbiased) covariances of two sets of frames."""
    left_DD, right_DD = (np.atleast_2d(np.cov(x_ND, rowvar=False)) for x_ND in (left_ND, right_ND))
    value_D, vector_DD = np.linalg.eigh(left_DD)
    root_DD = vector_DD * np.sqrt(value_D.clip(0)) @ vector_DD.T
    # S S' and S^(1/2) S' S^(1/2) have equal eigenvalues; those of the symmetric one are real whatever the rounding.
    cross_D = np.linalg.eigvalsh(root_DD @ right_DD @ root_DD).clip(0)
    shift = float(np.square(left_ND.mean(0) - right_ND.mean(0)).sum())
    spread = float(np.trace(left_DD) + np.trace(right_DD) - 2 * np.sqrt(cross_D).sum())
    return shift + max(0.0, spread)
