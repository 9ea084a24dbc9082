"""Is an avatar coupled more to its own user than to those of other dyads?

The pseudo-dyads of interaction research (Bernieri & Rosenthal 1991): who never met cannot have answered each other, but
shares whatever everybody does. Representation: one dimension of motion of user and avatar each; r, no unit.

    T frames   D dyads   N draws of partners
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar_lab.evaluation.metric.coupling import MAX_LAG
from avatar_lab.evaluation.metric.undefined import Array, Undefined, unfit
from avatar_lab.events.pair_lag import circular_correlation

DRAWS = 10_000


@dataclass(frozen=True, kw_only=True)
class PseudoDyads:
    """Mean peak correlation with the own user, with users of other dyads, and the permutation p of the difference."""

    own: float
    others: float
    p: float
    dyads: int


def pseudo_dyads(
    users: Sequence[Array], made: Sequence[Array], *, rate: float, seed: int, max_lag: float = MAX_LAG
) -> PseudoDyads | Undefined:
    """Are avatars coupled more to their own users than to those of other dyads? All curves are cut to the shortest.

    The null draws users for the avatars anew; dyads with a constant or unknown curve are left out, and those shorter
    than four times ``max_lag``. Undefined: fewer than two dyads remain. Of four dyads no p is below 1 / 24.

    Raises:
        ValueError: the numbers of curves differ.
    """
    if len(users) != len(made):
        raise ValueError(f"{len(users)} users and {len(made)} avatars; give them in pairs")
    reach = round(max_lag * rate)
    pairs = [
        (user_T, made_T)
        for user_T, made_T in zip(users, made, strict=True)
        if unfit({"user": user_T, "made": made_T}, min_frames=4 * reach + 1) is None
    ]
    if len(pairs) < 2:
        return Undefined(f"{len(pairs)} of {len(users)} dyads have moving curves that are long enough; two are needed")
    length = min(min(len(user_T), len(made_T)) for user_T, made_T in pairs)
    peak_DD = np.array(
        [
            [circular_correlation(user_T[:length], made_T[:length])[: reach + 1].max() for user_T, _ in pairs]
            for _, made_T in pairs
        ]
    )
    dyads, rng = len(pairs), np.random.default_rng(seed)
    partner_ND = rng.permuted(np.tile(np.arange(dyads), (DRAWS, 1)), axis=1)
    null_N = peak_DD[np.arange(dyads), partner_ND].mean(1)
    own = float(peak_DD.trace() / dyads)
    return PseudoDyads(
        own=own,
        others=float((peak_DD.sum() - peak_DD.trace()) / (dyads * (dyads - 1))),
        p=float((1 + (null_N >= own - 1e-12).sum()) / (1 + DRAWS)),
        dyads=dyads,
    )
