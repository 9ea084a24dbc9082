"""Do the avatar's vocal reactions take up the user's pitch and loudness, and are they in its own voice?

Representation: F0 in semitones and level in decibels of voiced frames (``voice.py``), from decoded audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import pearsonr

from avatar_lab.evaluation.metric.undefined import STILL, Undefined
from avatar_lab.evaluation.metric.voice import Voice
from avatar_lab.events.segments import Segment

BEFORE_SECONDS = 1.5
"""The user's voice "just before" a reaction."""
MIN_VOICED_SECONDS = 0.05
MIN_REACTIONS = 6
MIN_ANCHOR_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class ReactionProsody:
    """How reactions follow the user's voice just before them.

    f0_r, level_r        Pearson's r over reactions of their median F0 (mean level) with the user's; higher is better
    f0_shift             median semitones by which reactions are higher than the user
    level_shift          median decibels by which they are louder
    """

    f0_r: float | Undefined
    level_r: float | Undefined
    f0_shift: float
    level_shift: float
    reactions: int


def reaction_prosody(reactions: Sequence[Segment], own: Voice, user: Voice) -> ReactionProsody | Undefined:
    """Prosodic entrainment of reactions, turn-by-turn (Levitan & Hirschberg 2011, Interspeech).

    Reactions count where both have 50 ms of voice, the user's within 1.5 s before. Undefined: fewer than six such. The
    shifts depend on the two people, so compare them with the truth's; so do the correlations on their number.
    """
    pairs = []
    for start, end in reactions:
        reaction, before = own.during(start, end), user.during(start - BEFORE_SECONDS, start)
        if min(reaction.voiced_seconds, before.voiced_seconds) >= MIN_VOICED_SECONDS - 1e-9:
            pairs.append(
                (reaction.median_f0(), before.median_f0(), reaction.mean_level(), before.mean_level()),
            )
    if len(pairs) < MIN_REACTIONS:
        return Undefined(f"{len(pairs)} reactions follow the user's voice; {MIN_REACTIONS} are needed")
    own_f0, user_f0, own_level, user_level = np.array(pairs).T
    return ReactionProsody(
        f0_r=_correlation(own_f0, user_f0),
        level_r=_correlation(own_level, user_level),
        f0_shift=float(np.median(own_f0 - user_f0)),
        level_shift=float(np.median(own_level - user_level)),
        reactions=len(pairs),
    )


def voice_identity(reactions: Sequence[Segment], own: Voice, anchor: Voice) -> float | Undefined:
    """Semitones between the median F0 of all reactions and that of the anchor's voice, without sign; lower is better.

    A stand-in for speaker similarity without weights: another person's voice is mostly some semitones away, but the
    same F0 is not the same voice. Undefined: less than 0.2 s of voice in the anchor or in all reactions together.
    """
    parts = [own.during(start, end) for start, end in reactions]
    for name, seconds in (
        ("reactions", sum(part.voiced_seconds for part in parts)),
        ("anchor", anchor.voiced_seconds),
    ):
        if seconds < MIN_ANCHOR_SECONDS - 1e-9:
            return Undefined(f"{seconds:.2f} s of voice in the {name}; {MIN_ANCHOR_SECONDS:g} s are needed")
    return float(abs(np.nanmedian(np.concatenate([part.f0_R for part in parts])) - anchor.median_f0()))


def _correlation(own_N: np.ndarray, user_N: np.ndarray) -> float | Undefined:
    if own_N.std() <= STILL * np.abs(own_N).max() or user_N.std() <= STILL * np.abs(user_N).max():
        return Undefined("the reactions, or the user's voice before them, are all alike")
    return float(pearsonr(own_N, user_N).statistic)
