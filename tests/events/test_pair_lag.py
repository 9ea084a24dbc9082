import numpy as np
import pytest

from avatar_lab.events.pair_lag import MIN_WINDOWS, LagRule, circular_correlation, find_lag
from avatar_lab.layout import Layout
from avatar_lab.world.graph import world_v1
from avatar_lab.world.simulate import simulate
from avatar_lab.world.voice import synthesize
from tests.events.babble import RATE, alternating, babble, late, with_bleed

SECONDS = 90.0


@pytest.fixture(scope="module")
def talk() -> dict[str, np.ndarray]:
    spans = alternating(SECONDS, seed=1)
    return {side: babble(SECONDS, spans[side], seed=number) for number, side in enumerate("ab", start=2)}


@pytest.mark.parametrize(("isolation_db", "lag"), [(9.0, 0.0), (9.0, -0.41), (20.0, 0.73), (30.0, 0.25)])
def test_planted_lag_shows_in_the_bleed(talk: dict[str, np.ndarray], isolation_db: float, lag: float) -> None:
    mixed = with_bleed(talk, isolation_db=isolation_db)
    found = find_lag({"a": mixed["a"], "b": late(mixed["b"], lag)}, RATE)
    assert found.best is not None
    assert found.surer == "bleed"
    assert found.best.lag == pytest.approx(lag, abs=0.015)
    assert found.best.peak > 2 * found.best.chance
    assert found.confidence > 0.9999


@pytest.mark.parametrize("lag", [0.0, 0.6, -0.5])
def test_turns_tell_a_lag_without_any_bleed(talk: dict[str, np.ndarray], lag: float) -> None:
    found = find_lag({"a": talk["a"], "b": late(talk["b"], lag)}, RATE)
    assert found.turns is not None
    assert found.bleed is not None
    assert found.surer == "turns"
    assert found.turns.lag == pytest.approx(lag, abs=found.turns.resolution)
    assert found.turns.confidence > 0.99
    assert found.bleed.confidence < 0.9


@pytest.mark.ci
def test_confidence_of_independent_recordings_is_that_of_chance() -> None:
    """Speech of people who never met: confidences spread as chance does, none would be acted upon."""
    confidences = []
    for seed in range(10, 26):
        apart = {
            side: babble(SECONDS, alternating(SECONDS, seed=seed + step)[side], seed=seed + step)
            for side, step in (("a", 0), ("b", 100))
        }
        confidences.append(find_lag(apart, RATE).confidence)
    assert np.mean(confidences) < 0.7
    assert np.mean(np.asarray(confidences) > 0.95) <= 0.15
    assert max(confidences) < 0.999


def test_short_recordings_and_silence_say_nothing(talk: dict[str, np.ndarray]) -> None:
    short = find_lag({side: wav[: 40 * RATE] for side, wav in talk.items()}, RATE)
    assert short.windows < MIN_WINDOWS
    assert (short.best, short.surer, short.confidence) == (None, None, 0.0)
    silent = find_lag({side: np.zeros(90 * RATE, np.float32) for side in "ab"}, RATE)
    assert silent.confidence == 0.0


def test_a_lag_beyond_the_search_is_not_taken_for_one_inside(talk: dict[str, np.ndarray]) -> None:
    mixed = with_bleed(talk, isolation_db=15.0)
    apart = {"a": mixed["a"], "b": late(mixed["b"], 1.4)}
    near = find_lag(apart, RATE).bleed
    assert near is not None
    assert near.confidence < 0.999
    wide = find_lag(apart, RATE, LagRule(max_lag=1.6)).bleed
    assert wide is not None
    assert wide.lag == pytest.approx(1.4, abs=0.015)
    assert wide.confidence > 0.9999


def test_correlation_at_circular_lags() -> None:
    left = np.random.default_rng(0).standard_normal(1000)
    found = circular_correlation(left, np.roll(left, 7))
    assert np.argmax(found) == 7
    assert found[7] == pytest.approx(1.0)
    expected = np.corrcoef(left, np.roll(np.roll(left, 7), -3))[0, 1]
    assert found[3] == pytest.approx(expected)
    np.testing.assert_array_equal(circular_correlation(np.ones(9), left[:9]), np.zeros(9))


@pytest.mark.ci
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_voices_of_the_world(seed: int) -> None:
    layout = Layout()
    dialogue = simulate(seed, 120.0, graph=world_v1(), held_out=True, layout=layout)
    wavs = {
        side: synthesize(
            dialogue.persons[side].voice,
            dialogue.tracks[side].voice_RQ,
            layout.sample_rate,
            dialogue.noise.generator("sound", side),
        )
        for side in "ab"
    }
    apart = find_lag({"a": wavs["a"], "b": late(wavs["b"], 0.5, rate=layout.sample_rate)}, layout.sample_rate)
    assert apart.surer == "turns"
    assert apart.turns is not None
    assert apart.turns.lag == pytest.approx(0.5, abs=0.3)
    assert apart.confidence > 0.99
    mixed = with_bleed(wavs, isolation_db=20.0)
    close = find_lag({"a": mixed["a"], "b": late(mixed["b"], -0.3, rate=layout.sample_rate)}, layout.sample_rate)
    assert close.best is not None
    assert close.best.lag == pytest.approx(-0.3, abs=0.015)
    assert close.confidence > 0.9999
