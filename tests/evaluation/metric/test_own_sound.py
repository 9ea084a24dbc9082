"""An avatar's own sound: spectra at the floor or far above it, tokens that surprise or not, and only at its places."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import lfilter

from avatar_lab.evaluation.metric.own_sound import (
    BANDS,
    FRAME_RATE,
    PRIOR,
    STEP_DB,
    OwnSound,
    bigram_nll,
    log_mel,
    own_sound_distance,
    own_token_nll,
    trace_own_sound,
)
from tests.evaluation.metric.signals import defined, reason

SAMPLE_RATE, TOKENS, PER_TOKEN = 16_000, 100, 1280
CLIPS = 8
DYADS = [f"d{number // 2}" for number in range(CLIPS)]


def murmur(seed: int, *, timbre: float = 0.9) -> np.ndarray:
    """Noise of a timbre whose loudness changes from token to token."""
    rng = np.random.default_rng(seed)
    noise_S = lfilter([1.0], [1.0, -timbre], rng.normal(size=TOKENS * PER_TOKEN))
    loudness_S = np.repeat(rng.permutation(np.logspace(-3, -1, TOKENS)), PER_TOKEN)
    return (noise_S / noise_S.std() * loudness_S).astype(np.float32)


def chain(seed: int, *, codebooks: int, entries: int) -> np.ndarray:
    """Tokens (A, K) each of which mostly decides the next, alike for all people."""
    rng = np.random.default_rng(seed)
    follow_KV = np.random.default_rng(99).permuted(np.tile(np.arange(entries), (codebooks, 1)), axis=1)
    tokens_AK = rng.integers(entries, size=(TOKENS, codebooks))
    for before, here in pairwise(tokens_AK):
        likely_K = rng.random(codebooks) < 0.8
        here[likely_K] = follow_KV[np.arange(codebooks), before][likely_K]
    return tokens_AK


def uttered(
    seed: int,
    *,
    tokens_AK: np.ndarray | None = None,
    audio_S: np.ndarray | None = None,
    codebooks: int = 3,
    entries: int = 20,
) -> OwnSound:
    """What one agent utters in the conversation ``seed % CLIPS``, whose middle fifth is scripted."""
    open_A = np.ones(TOKENS, bool)
    open_A[40 + seed % CLIPS : 60 + seed % CLIPS] = False
    return trace_own_sound(
        chain(seed, codebooks=codebooks, entries=entries) if tokens_AK is None else tokens_AK,
        open_A,
        murmur(seed) if audio_S is None else audio_S,
        sample_rate=SAMPLE_RATE,
        num_entries=entries,
    )


TRUTH = [uttered(seed) for seed in range(CLIPS)]


def test_equal_sound_lies_at_the_floor_and_another_timbre_far_above() -> None:
    itself = defined(own_sound_distance(TRUTH, TRUTH, seed=0))
    assert itself.distance == pytest.approx(0, abs=1e-9)
    assert itself.halved == itself.floor > 0
    assert itself.frames == CLIPS * round(80 * PER_TOKEN / SAMPLE_RATE * FRAME_RATE)
    others = defined(own_sound_distance(TRUTH, [uttered(CLIPS + seed) for seed in range(CLIPS)], seed=0))
    assert others.floor == itself.floor
    assert others.halved < 2 * others.floor
    brighter = [uttered(seed, audio_S=murmur(seed, timbre=-0.9)) for seed in range(CLIPS)]
    assert defined(own_sound_distance(TRUTH, brighter, seed=0)).halved > 20 * itself.floor
    silent = [uttered(seed, audio_S=np.zeros(TOKENS * PER_TOKEN, np.float32)) for seed in range(CLIPS)]
    assert defined(own_sound_distance(TRUTH, silent, seed=0)).halved > 20 * itself.floor


def test_what_the_script_says_does_not_count() -> None:
    made = []
    for seed, true in enumerate(TRUTH):
        scripted_S = np.repeat(~true.open_A, PER_TOKEN)
        scripted_S[: -PER_TOKEN // 4] &= scripted_S[PER_TOKEN // 4 :]  # windows reach 15 ms into their neighbours
        scripted_S[PER_TOKEN // 4 :] &= scripted_S[: -PER_TOKEN // 4]
        audio_S = np.where(scripted_S, murmur(seed, timbre=-0.9), murmur(seed))
        tokens_AK = np.where(true.open_A[:, None], true.tokens_AK, 0)
        made.append(uttered(seed, tokens_AK=tokens_AK, audio_S=audio_S))
    assert any((one.spectra_RD != true.spectra_RD).any() for one, true in zip(made, TRUTH, strict=True))
    assert defined(own_sound_distance(TRUTH, made, seed=0)).distance == pytest.approx(0, abs=1e-9)
    surprise = defined(own_token_nll(TRUTH, made, DYADS))
    assert surprise.made == surprise.truth
    assert surprise.pairs == CLIPS * (80 - 2), "no pair across the script"
    free = [replace(one, open_A=np.ones(TOKENS, bool)) for one in made]
    assert defined(own_sound_distance(TRUTH, free, seed=0)).distance > 1, "without a script all of it counts"
    assert defined(own_token_nll(TRUTH, free, DYADS)).pairs == CLIPS * (TOKENS - 1)


@pytest.mark.parametrize(("codebooks", "entries"), [(1, 20), (3, 20), (2, 300)])
def test_disorder_surprises_and_lasting_silence_does_not(codebooks: int, entries: int) -> None:
    def nll(change: str) -> float:
        made = []
        for seed, true in enumerate(truth):
            tokens_AK = {
                "none": true.tokens_AK,
                "others": chain(CLIPS + seed, codebooks=codebooks, entries=entries),
                "shuffled": np.random.default_rng(seed).permutation(true.tokens_AK),
                "silence": np.broadcast_to(quiet_K, true.tokens_AK.shape),
            }[change]
            made.append(uttered(seed, tokens_AK=tokens_AK, entries=entries))
        found = defined(own_token_nll(truth, made, DYADS))
        assert found.truth == people.truth
        return found.made

    quiet_K = np.zeros(codebooks, np.int64)
    truth = []
    for seed in range(CLIPS):
        tokens_AK = chain(seed, codebooks=codebooks, entries=entries)
        tokens_AK[:30] = quiet_K
        truth.append(uttered(seed, tokens_AK=tokens_AK, entries=entries))
    people = defined(own_token_nll(truth, truth, DYADS))
    assert people.made == people.truth == nll("none")
    assert nll("silence") < 0.7 * people.truth
    assert nll("shuffled") > 1.15 * people.truth
    assert nll("others") > people.truth, "they are never as silent as people are here"


def test_nobody_is_judged_by_what_was_counted_of_itself() -> None:
    """Everybody goes round a cycle of its own: learnt by heart in its own half, a surprise to the other."""
    entries = 40
    truth = []
    for seed in range(CLIPS):
        cycle_V = np.random.default_rng(seed).permutation(entries)
        truth.append(uttered(seed, tokens_AK=np.tile(cycle_V, 3)[:TOKENS, None], entries=entries))
    pairs_N2K = np.concatenate([one.pairs(one.open_A) for one in truth])
    by_heart = bigram_nll(pairs_N2K, pairs_N2K, num_entries=entries).mean()
    found = defined(own_token_nll(truth, truth, DYADS))
    assert found.truth > by_heart + 1
    assert found.truth > np.log(entries)
    thief = [truth[(number + 2) % CLIPS] for number in range(CLIPS)]  # says what the other half's people say
    assert defined(own_token_nll(truth, thief, DYADS)).made < found.truth - 1


def test_probabilities_are_those_of_the_formula_and_sum_to_one() -> None:
    counted_N2K = np.array([[0, 1], [0, 1], [0, 2], [2, 1]])[..., None]
    all_M2K = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), -1).reshape(-1, 2, 1)
    p_VV = np.exp(-bigram_nll(counted_N2K, all_M2K, num_entries=4)).reshape(4, 4)
    overall_V = np.array([0.5, 3.5, 1.5, 0.5]) / 6
    assert p_VV.sum(1) == pytest.approx(1)
    assert p_VV[0, 1] == pytest.approx((2 + PRIOR * overall_V[1]) / (3 + PRIOR))
    assert p_VV[3] == pytest.approx(overall_V), "nothing is known after a token that was never seen"


@pytest.mark.parametrize("sample_rate", [16_000, 24_000, 48_000])
def test_spectra_are_in_half_decibels_above_the_floor(sample_rate: int) -> None:
    noise_S = np.random.default_rng(0).normal(size=2 * sample_rate).astype(np.float32)
    quiet_RD, loud_RD = (log_mel(amplitude * noise_S, sample_rate).astype(float) for amplitude in (0.01, 0.1))
    assert quiet_RD.shape == (2 * FRAME_RATE, BANDS)
    assert (loud_RD - quiet_RD).mean() * STEP_DB == pytest.approx(20, abs=0.1)
    assert loud_RD[5:-5, -1].mean() * STEP_DB == pytest.approx(75.2 - 20, abs=1)
    assert not log_mel(1e-5 * noise_S, sample_rate).any(), "clipped"
    assert log_mel(noise_S[:100], sample_rate).shape == (0, BANDS)


def test_frames_belong_to_the_token_that_holds_their_middle() -> None:
    spectra_RD = np.arange(10, dtype=np.uint8)[:, None]
    sound = OwnSound(
        tokens_AK=np.zeros((4, 1), np.uint8), open_A=np.ones(4, bool), spectra_RD=spectra_RD, num_entries=2
    )
    frames = [
        (sound.spectra(np.arange(4) == token)[:, 0] / STEP_DB).tolist() for token in range(4)
    ]  # of 2.5 frames each
    assert frames == [[0, 1], [2, 3, 4], [5, 6], [7, 8, 9]]


def test_no_number_without_grounds() -> None:
    closed = [replace(one, open_A=np.zeros(TOKENS, bool)) for one in TRUTH]
    brief = [replace(one, open_A=np.arange(TOKENS) < 2) for one in TRUTH]
    lone = [replace(one, open_A=np.arange(TOKENS) % 2 == 0) for one in TRUTH]
    for nothing in ([], closed):
        assert "is known to be" in reason(own_sound_distance(TRUTH[: len(nothing)], nothing, seed=0))
        assert "is known to be" in reason(own_token_nll(TRUTH[: len(nothing)], nothing, DYADS[: len(nothing)]))
    assert "frames" in reason(own_sound_distance(TRUTH[:4], brief[:4], seed=0))
    assert reason(own_token_nll(TRUTH, brief, DYADS)).startswith("4 neighbouring tokens")
    assert reason(own_token_nll(TRUTH, lone, DYADS)).startswith("0 neighbouring tokens")
    assert reason(own_token_nll(TRUTH[:2], TRUTH[:2], DYADS[:2])).startswith("0 neighbouring"), "one dyad has no other"
    assert "two clips" in reason(own_sound_distance(TRUTH[:1], TRUTH[:1], seed=0))
    silent = [replace(one, spectra_RD=np.zeros_like(one.spectra_RD)) for one in TRUTH]
    assert "constant" in reason(own_sound_distance(silent, TRUTH, seed=0))
    some = [closed[0], *TRUTH[1:]]
    assert defined(own_sound_distance(TRUTH, some, seed=0)).frames > 0
    assert defined(own_token_nll(TRUTH, some, DYADS)).pairs == (CLIPS - 1) * 78
