"""Does the avatar's own sound come from the distribution of people's: spectra by Frechet distance, tokens by bigrams.

Where a script is given, most of an avatar's audio is the recorded person's and says nothing of the model; so only audio
tokens count that no script gave. The recorded people are judged at the same places.

Spectra: log-mel of the decoded waveform every 20 ms, windows of 50 ms, clipped 75 dB below full scale (the tiny codec's
level of silence, as white noise), kept in half decibels above that.

    S samples   A audio tokens   K codebooks   V entries   R frames of 20 ms   D mel bands   N, M pairs of neighbours
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from avatar_lab.codec.acoustic_features import LEVEL_UNIT, AcousticFeatures
from avatar_lab.evaluation.metric.frechet import Frechet, frechet
from avatar_lab.evaluation.metric.undefined import Array, Undefined

FRAME_RATE = 50
BANDS = 16
STEP_DB = 0.5
MIN_SPREAD_DB = 1.0
"""A band in which recorded people vary less counts in this unit, lest what nobody hears outweighs all else."""
PRIOR = 10.0
"""Pairs' worth of the tokens' overall frequencies that every context of the bigrams starts from."""
UNSEEN = 0.5
"""Added to every token's count (Krichevsky & Trofimov 1981), so that none is impossible."""
MIN_PAIRS = 100
_NOTHING = Undefined("no audio token is known to be the avatar's own")


@dataclass(frozen=True, kw_only=True)
class OwnSound:
    """What an avatar uttered in one conversation, and where it was its own.

    tokens_AK    in the smallest unsigned integers that hold them
    open_A       no script gave these tokens: the avatar chose them
    spectra_RD   uint8, of the same stretch as the tokens
    num_entries  V of every codebook
    """

    tokens_AK: NDArray[np.unsignedinteger]
    open_A: NDArray[np.bool_]
    spectra_RD: NDArray[np.uint8]
    num_entries: int

    def spectra(self, open_A: NDArray[np.bool_]) -> Array:
        """Frames (R', D) whose middle lies in a token of ``open_A``, in decibels above the floor."""
        frames = len(self.spectra_RD)
        token_R = ((np.arange(frames) + 0.5) * len(open_A) / frames).astype(np.int64)
        return STEP_DB * self.spectra_RD[open_A[token_R]].astype(np.float64)

    def pairs(self, open_A: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Neighbouring tokens that are both in ``open_A``: (N, 2, K), the earlier first."""
        both_N = np.flatnonzero(open_A[:-1] & open_A[1:])
        return self.tokens_AK[both_N[:, None] + np.arange(2)].astype(np.int64)


def trace_own_sound(
    tokens_AK: NDArray[np.int64],
    open_A: NDArray[np.bool_],
    audio_S: NDArray[np.float32],
    *,
    sample_rate: int,
    num_entries: int,
) -> OwnSound:
    """What is kept of one conversation: tokens, and spectra of the waveform that they decode to."""
    return OwnSound(
        tokens_AK=tokens_AK.astype(np.min_scalar_type(num_entries - 1)),
        open_A=open_A,
        spectra_RD=log_mel(audio_S, sample_rate),
        num_entries=num_entries,
    )


def log_mel(audio_S: NDArray[np.float32], sample_rate: int) -> NDArray[np.uint8]:
    """Spectra (R, D) in half decibels above the floor; a mono waveform shorter than a frame has none."""
    features = AcousticFeatures(sample_rate=sample_rate, hop=sample_rate // FRAME_RATE, num_mels=BANDS)
    if len(audio_S) < features.hop:
        return np.zeros((0, BANDS), np.uint8)
    with torch.inference_mode():
        level_RD = features.centred_level(torch.from_numpy(audio_S)[None])[0].numpy()
    decibels_RD = level_RD * LEVEL_UNIT * 10 / np.log(10)
    return np.rint(decibels_RD / STEP_DB).clip(0, np.iinfo(np.uint8).max).astype(np.uint8)


def own_sound_distance(truth: Sequence[OwnSound], made: Sequence[OwnSound], *, seed: int) -> Frechet | Undefined:
    """Frechet distance of spectra where the avatar's sound is its own, in squared deviations of the truth's there.

    Both sides have the same frames of the same conversations. Undefined: no such sound, or what ``frechet`` says.

    Raises:
        ValueError: a conversation is longer in ``truth`` than in ``made``.
    """
    if not any(one.open_A.any() for one in made):
        return _NOTHING
    true, own = (
        [sound.spectra(place.open_A) for sound, place in zip(side, made, strict=True)] for side in (truth, made)
    )
    spread_D = np.concatenate(true).std(0).clip(MIN_SPREAD_DB)
    return frechet([clip_ND / spread_D for clip_ND in true], [clip_ND / spread_D for clip_ND in own], seed=seed)


@dataclass(frozen=True, kw_only=True)
class TokenNll:
    """Nats per token of one codebook, of the avatar's tokens and of the recorded people's at the same places."""

    made: float
    truth: float
    pairs: int


def own_token_nll(truth: Sequence[OwnSound], made: Sequence[OwnSound], dyads: Sequence[str]) -> TokenNll | Undefined:
    """How surprising the tokens that the avatar chose are, each after the one before, to who knows other people.

    Every half of the dyads is judged by bigrams of the recorded people of the other half, at places where the avatar's
    sound is its own; so the people themselves are judged by others too. Neither way is better: a silence that goes on
    is no surprise at all. Undefined: fewer than 100 neighbouring tokens of its own in a half of the dyads.
    """
    if not any(one.open_A.any() for one in made):
        return _NOTHING
    number = {dyad: place for place, dyad in enumerate(dict.fromkeys(dyads))}
    true, own = ([sound.pairs(place.open_A) for sound, place in zip(side, made, strict=True)] for side in (truth, made))
    half_N = np.repeat([number[dyad] % 2 for dyad in dyads], [len(pairs) for pairs in own])
    fewest = int(np.bincount(half_N, minlength=2).min())
    if fewest < MIN_PAIRS:
        return Undefined(f"{fewest} neighbouring tokens are its own in half of the dyads; {MIN_PAIRS} are needed")
    true_N2K, own_N2K = np.concatenate(true), np.concatenate(own)
    entries = made[0].num_entries
    made_nats, truth_nats = (
        np.concatenate(
            [bigram_nll(true_N2K[half_N != half], x_N2K[half_N == half], num_entries=entries) for half in range(2)]
        ).mean()
        for x_N2K in (own_N2K, true_N2K)
    )
    return TokenNll(made=float(made_nats), truth=float(truth_nats), pairs=len(own_N2K))


def bigram_nll(counted_N2K: NDArray[np.int64], judged_M2K: NDArray[np.int64], *, num_entries: int) -> Array:
    """Nats (M, K) of each later token given the earlier one, by the pairs that were counted, per codebook:

        p(b | a) = (n(a, b) + c p(b)) / (n(a) + c),    p(b) = (n(b) + 1/2) / (n + V/2),    c = 10

    (hierarchical Dirichlet model, MacKay & Peto 1995). Pairs are few beside V^2, so they are counted sparsely.
    """
    nats_MK = np.empty((len(judged_M2K), judged_M2K.shape[2]))
    for k in range(judged_M2K.shape[2]):
        (earlier_N, later_N), (before_M, after_M) = counted_N2K[:, :, k].T, judged_M2K[:, :, k].T
        overall_V = np.bincount(later_N, minlength=num_entries) + UNSEEN
        overall_V /= overall_V.sum()
        context_V = np.bincount(earlier_N, minlength=num_entries)
        known, count = np.unique(earlier_N * num_entries + later_N, return_counts=True)
        wanted_M = before_M * num_entries + after_M
        place_M = np.searchsorted(known, wanted_M).clip(max=len(known) - 1)
        pair_M = np.where(known[place_M] == wanted_M, count[place_M], 0)
        nats_MK[:, k] = -np.log((pair_M + PRIOR * overall_V[after_M]) / (context_V[before_M] + PRIOR))
    return nats_MK
