"""Planted turns, pauses, interruptions and answers come back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar_lab.evaluation.metric.turn_response import (
    answer_moments,
    response_latency,
    take_over_rate,
    yielding,
)
from avatar_lab.evaluation.metric.turn_taking import (
    Speech,
    battery,
    battery_distances,
    floor_transfer_offsets,
    long_double_talk,
    long_silences,
    overlap_share,
    speaking_share,
    wasserstein,
)
from tests.evaluation.metric.signals import defined, reason


def ping_pong(gap: float, *, turn: float = 4.0, rounds: int = 10) -> Speech:
    """User and avatar in turns of ``turn`` seconds, it ``gap`` seconds after the user, the user .3 s after it."""
    own, user, time = [], [], 0.0
    for _ in range(rounds):
        user.append((time, time + turn))
        own.append((time + turn + gap, time + 2 * turn + gap))
        time += 2 * turn + gap + 0.3
    return Speech(own=own, user=user, seconds=time)


def test_battery_of_planted_turns() -> None:
    speech = ping_pong(0.5)
    found = defined(battery([speech, speech]))
    minutes = speech.seconds / 60
    assert found["ipu"]["events"] == pytest.approx(20 / minutes)
    assert found["gap"]["seconds"] == pytest.approx((10 * 0.5 + 9 * 0.3) / minutes)
    assert found["overlap"]["events"] == found["pause"]["events"] == 0
    distances = battery_distances([speech], [ping_pong(0.9)])
    assert distances["ipu"] == pytest.approx(0, abs=1e-9)
    assert distances["gap"] == pytest.approx(0.4 * 10 / 19)
    assert "no such events of the truth" in reason(distances["overlap"])


def test_floor_transfers_are_the_avatars_and_signed() -> None:
    assert floor_transfer_offsets(ping_pong(0.5)) == pytest.approx([0.5] * 10)
    assert floor_transfer_offsets(ping_pong(-0.4)) == pytest.approx([-0.4] * 10)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=30), st.floats(-2, 2))
def test_distance_to_a_shifted_law_is_the_shift(offsets: list[float], shift: float) -> None:
    assert wasserstein(offsets, [x + shift for x in offsets]) == pytest.approx(abs(shift), abs=1e-9)
    assert wasserstein(offsets, offsets) == 0


def test_shares() -> None:
    speech = Speech(own=[(0, 2), (3, 4)], user=[(1, 5)], seconds=10)
    assert speaking_share(speech) == pytest.approx(3 / 7)
    assert overlap_share(speech) == pytest.approx(2 / 5)
    assert speaking_share(Speech(own=[], user=[(1, 5)], seconds=10)) == 0


def test_long_silences_and_double_talk() -> None:
    speech = Speech(own=[(4, 10), (17, 20)], user=[(8.5, 10.5), (14, 17.5)], seconds=24)
    assert long_silences(speech) == pytest.approx(3 / 24 * 60)  # before 4, from 10.5 to 14, after 20
    assert long_double_talk(speech) == pytest.approx(1 / 24 * 60)  # 8.5 to 10 counts, 17 to 17.5 does not
    silent = Speech(own=[], user=[(0, 2)], seconds=30)
    assert long_silences(silent) == pytest.approx(2)
    assert long_double_talk(silent) == 0


def test_take_over() -> None:
    ends_N = np.array([10.0, 20.0, 30.0, 40.0])
    user = [(5.0, 10.0), (15.0, 20.0), (25.0, 30.0), (31.0, 40.0)]
    moments = answer_moments(ends_N, user)
    assert moments == [(9.0, 13.0), (19.0, 23.0), (29.0, 31.0), (39.0, 43.0)]
    own = [
        (9.6, 12.0),  # a little early: taken
        (20.5, 20.9),  # too short to be a turn
        (31.5, 33.0),  # after the user went on
        (38.5, 42.0),  # began before: tells nothing
    ]
    found = defined(take_over_rate(own, moments, seconds=60))
    assert found.value == pytest.approx(1 / 3)
    assert found.moments == 3
    assert defined(take_over_rate(own, moments, seconds=23.5)).moments == 1
    assert "no moment" in reason(take_over_rate(own, moments, seconds=5))
    assert defined(take_over_rate([], moments, seconds=60)).value == 0


def test_latencies_keep_their_sign() -> None:
    ends_N, user = np.array([10.0, 20.0, 30.0]), [(5.0, 10.0), (15.0, 20.0), (25.0, 30.0)]
    found = defined(response_latency([(9.7, 12), (20.2, 22), (30.5, 33)], ends_N, user))
    assert found.median == pytest.approx(0.2)
    assert found.answers == found.moments == 3
    assert defined(response_latency([(9.7, 12)], ends_N, user)).median == pytest.approx(-0.3)
    assert "none of 3" in reason(response_latency([], ends_N, user))


def test_yielding() -> None:
    own = [(0.0, 10.4), (20.0, 30.0), (40.0, 45.0)]
    user = [(10.0, 13.0), (22.0, 24.0), (50.0, 52.0)]
    found = defined(yielding(own, user, seconds=60))
    assert found.rate == 0.5
    assert found.stop_latency == pytest.approx(0.4)
    assert found.moments == 2
    never = defined(yielding(own, user[1:2], seconds=60))
    assert never.rate == 0
    assert "never stops" in reason(never.stop_latency)
    assert "never begins" in reason(yielding(own, user[2:], seconds=60))
    assert "never begins" in reason(yielding(own, user[:1], seconds=11))


def test_no_number_without_grounds() -> None:
    silence = Speech(own=[], user=[], seconds=60)
    assert "nobody speaks" in reason(speaking_share(silence))
    assert "nobody speaks" in reason(overlap_share(silence))
    assert "says nothing" in reason(long_silences(silence))
    assert "says nothing" in reason(long_double_talk(silence))
    assert "no longer" in reason(long_silences(Speech(own=[], user=[(0, 1)], seconds=2)))
    assert "no conversation" in reason(battery([]))
    assert floor_transfer_offsets(silence) == []
    assert "of the avatar" in reason(wasserstein([0.1], []))
