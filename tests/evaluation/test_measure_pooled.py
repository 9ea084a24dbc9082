"""Metrics of many conversations together know the truth, order the agents, and say when the script decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.measure_pooled import measure_pooled
from avatar_lab.evaluation.metric.own_sound import OwnSound
from avatar_lab.evaluation.metric.voice import RATE, Voice
from avatar_lab.evaluation.observation import Observation
from avatar_lab.evaluation.rows import Measurement, Status
from avatar_lab.event_types import EventType
from avatar_lab.perception.pixel_reader import READ_CHANNELS
from tests.evaluation.metric.signals import ar1
from tests.evaluation.planted import LAYOUT, act, conversation, event

DYADS = 12
PITCH = READ_CHANNELS.index("pitch")
CONVERSATIONS = [conversation(number, side) for number in range(DYADS) for side in "ab"]
FRAMES = round(CONVERSATIONS[0].seconds * LAYOUT.fps)


def face(seed: int) -> np.ndarray:
    return ar1(FRAMES, seed=seed, dims=len(READ_CHANNELS))


def recorded() -> dict[str, Observation]:
    """Side b follows the pitch of side a half a second later."""
    found = {}
    for number in range(DYADS):
        leader, follower = face(2 * number), face(2 * number + 1)
        follower[:, PITCH] = np.roll(leader[:, PITCH], round(0.5 * LAYOUT.fps)) + 0.5 * follower[:, PITCH]
        for side, channels_PC in (("a", leader), ("b", follower)):
            seen = act("oracle", conversation(number, side))
            found[f"d{number}-{side}"] = replace(seen, channels_PC=channels_PC)
    return found


def measured(made: dict[str, Observation], *, free: bool = True) -> dict[str, Measurement]:
    rows = measure_pooled(CONVERSATIONS, made, recorded(), layout=LAYOUT, seed=0, free=free)
    assert all((row.dyad_id, row.sample_id) == ("", "") for row in rows)
    return {row.metric: row for row in rows}


def altered(change: Callable[[int, np.ndarray], np.ndarray]) -> dict[str, Observation]:
    truth = recorded()
    return {
        name: replace(seen, channels_PC=change(number, seen.channels_PC))
        for number, (name, seen) in enumerate(truth.items())
    }


def value(rows: dict[str, Measurement], metric: str) -> float:
    found = rows[metric].value
    assert found is not None, rows[metric].reason
    return found


def test_distances_order_the_truth_others_and_a_still_face() -> None:
    truth = measured(recorded())
    others = measured(altered(lambda number, x_PC: face(1000 + number)))
    still = measured(altered(lambda number, x_PC: np.zeros_like(x_PC)))
    for metric in ("face_fd", "face_pfd"):
        floor = value(truth, f"{metric}_floor")
        assert value(truth, metric) == pytest.approx(floor, rel=0.5), metric
        assert value(still, metric) > 5 * floor, metric
    assert value(others, "face_fd") < 2 * value(truth, "face_fd_floor") < value(still, "face_fd")
    assert value(truth, "face_sid_ratio") == pytest.approx(1)
    assert value(others, "face_sid_ratio") == pytest.approx(1, abs=0.1)
    assert value(still, "face_sid_ratio") < 0.7


def test_coupling_is_to_the_own_user() -> None:
    followers = [one for one in CONVERSATIONS if one.side == "b"]
    rows = {
        name: {row.metric: row for row in measure_pooled(followers, made, recorded(), layout=LAYOUT, seed=0, free=True)}
        for name, made in (
            ("truth", recorded()),
            ("strangers", altered(lambda number, x_PC: face(1000 + number))),
        )
    }
    assert value(rows["truth"], "pitch_dyad_coupling") > 0.4
    assert value(rows["truth"], "pitch_dyad_coupling_p") < 0.01
    assert value(rows["strangers"], "pitch_dyad_coupling_p") > 0.05
    assert value(rows["truth"], "smile_dyad_coupling_p") > 0.05
    assert rows["truth"]["pitch_dyad_coupling"].n == DYADS


def voiced(seen: Observation, judged: Conversation, *, following: bool, seed: int) -> Observation:
    """An agent of whose reactions each takes up the pitch that its user has just before, or does not."""
    rng = np.random.default_rng(seed)
    f0_R, level_R = np.full(round(judged.seconds * RATE), -3.0 + seed), np.full(round(judged.seconds * RATE), -30.0)
    events = []
    for start in np.arange(3.0, judged.seconds - 2, 4.0):
        height = user_height(judged, start) if following else rng.normal()
        f0_R[round(start * RATE) : round((start + 0.5) * RATE)] += 2 * height
        level_R[round(start * RATE) : round((start + 0.5) * RATE)] += 5 * height
        events.append(event(judged.key, judged.side, EventType.BACKCHANNEL, start, start + 0.5))
    return replace(seen, events=events, voice=Voice(f0_R=f0_R, level_R=level_R))


def user_height(judged: Conversation, start: float) -> float:
    return float(np.random.default_rng([int(start), ord(judged.user), *judged.key.encode()]).normal())


def speaking(seen: Observation, judged: Conversation) -> Observation:
    """A user whose pitch before each of those moments is its own."""
    f0_R, level_R = np.full(round(judged.seconds * RATE), 2.0), np.full(round(judged.seconds * RATE), -25.0)
    for start in np.arange(3.0, judged.seconds - 2, 4.0):
        before = slice(round((start - 1.5) * RATE), round(start * RATE))
        f0_R[before] += user_height(judged, start)
        level_R[before] += user_height(judged, start)
    return replace(seen, voice=Voice(f0_R=f0_R, level_R=level_R))


@pytest.mark.parametrize("following", [True, False])
def test_reactions_that_take_up_the_users_voice_are_found(following: bool) -> None:
    judged = [one for one in CONVERSATIONS if one.side == "a"]
    seen = recorded()
    users = seen | {one.partner: speaking(seen[one.partner], one) for one in judged}
    made = {
        one.name: voiced(seen[one.name], one, following=following, seed=number) for number, one in enumerate(judged)
    }
    rows = {row.metric: row for row in measure_pooled(judged, made, users, layout=LAYOUT, seed=0, free=True)}
    for metric in ("reaction_f0_r", "reaction_level_r"):
        assert (value(rows, metric) > 0.9) is following, metric
        assert abs(value(rows, metric)) < 0.3 or following, metric
        assert rows[metric].n > 100


def test_turn_taking_is_given_by_a_script_and_distances_are_nought_for_the_truth() -> None:
    speech = [(2.0, 6.0), (7.0, 9.5), (20.0, 23.0), (40.0, 42.0)]
    judged = [
        replace(
            one, events=[*one.events, *(event(one.key, one.user, EventType.IPU, s + 4.5, s + 6.0) for s, _ in speech)]
        )
        for one in CONVERSATIONS
    ]
    truth = {name: replace(seen, speech=speech) for name, seen in recorded().items()}
    later = {name: replace(seen, speech=[(s + 0.5, e + 0.5) for s, e in speech]) for name, seen in truth.items()}
    names = ("ipu_distance", "gap_distance", "offset_distance")
    own = {row.metric: row for row in measure_pooled(judged, truth, truth, layout=LAYOUT, seed=0, free=True)}
    late = {row.metric: row for row in measure_pooled(judged, later, truth, layout=LAYOUT, seed=0, free=True)}
    given = {row.metric: row for row in measure_pooled(judged, later, truth, layout=LAYOUT, seed=0, free=False)}
    assert [value(own, name) for name in names] == [0, 0, 0]
    assert value(late, "ipu_distance") == 0
    assert value(late, "gap_distance") > 0.2
    assert {given[name].status for name in names} == {Status.GIVEN}


def sounding(seed: int, *, num_entries: int = 30) -> dict[str, Observation]:
    """People who say one token for long and whose spectra change a little, in every conversation."""
    found = {}
    for number, (name, seen) in enumerate(recorded().items()):
        rng = np.random.default_rng([seed, number])
        tokens_AK = np.repeat(rng.integers(num_entries, size=(40, 2)), 20, axis=0).astype(np.uint8)
        spectra_RD = (60 + 5 * ar1(len(tokens_AK) * 4, seed=1000 * seed + number, memory=0.5, dims=16)).astype(np.uint8)
        open_A = np.arange(len(tokens_AK)) % 100 < 60
        sound = OwnSound(tokens_AK=tokens_AK, open_A=open_A, spectra_RD=spectra_RD, num_entries=num_entries)
        found[name] = replace(seen, own_sound=sound)
    return found


def test_own_sound_is_beside_that_of_people() -> None:
    truth = sounding(0)
    restless = {
        name: replace(
            seen,
            own_sound=replace(seen.own_sound, tokens_AK=np.random.default_rng(0).permutation(seen.own_sound.tokens_AK)),
        )
        for name, seen in truth.items()
        if seen.own_sound is not None
    }
    made = {"people": truth, "others": sounding(1), "restless": restless}
    rows = {
        name: {row.metric: row for row in measure_pooled(CONVERSATIONS, one, truth, layout=LAYOUT, seed=0, free=False)}
        for name, one in made.items()
    }
    floor = value(rows["people"], "own_sound_fd_floor")
    assert value(rows["people"], "own_sound_fd") == floor > 0
    assert value(rows["others"], "own_sound_fd") < 2 * floor
    assert rows["others"]["own_sound_fd"].n == 24 * 480 * 4
    people = value(rows["people"], "own_token_nll")
    assert value(rows["restless"], "own_token_nll") > 2 * people
    assert {value(one, "own_token_nll_truth") for one in rows.values()} == {people}
    unknown = dict(truth) | {"d0-a": replace(truth["d0-a"], own_sound=None)}
    fewer = measure_pooled(CONVERSATIONS, unknown, truth, layout=LAYOUT, seed=0, free=False)
    assert {row.metric: row.n for row in fewer}["own_sound_fd"] == 23 * 480 * 4


def test_without_faces_or_voices_there_is_no_number() -> None:
    made = {one.name: act("oracle", one) for one in CONVERSATIONS}
    rows = measure_pooled(CONVERSATIONS, made, made, layout=LAYOUT, seed=0, free=True)
    by_name = {row.metric: row for row in rows}
    own_sound = ("own_sound_fd", "own_sound_fd_floor", "own_token_nll", "own_token_nll_truth")
    for metric in ("face_fd", "face_pfd", "face_sid_ratio", "pitch_dyad_coupling", "reaction_f0_r", *own_sound):
        assert by_name[metric].status is Status.UNDEFINED, metric
        assert by_name[metric].reason
