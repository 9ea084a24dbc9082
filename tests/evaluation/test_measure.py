"""Rows of one conversation: every metric is described, says why it is undefined, and orders the reference agents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avatar_lab.evaluation.conversation import Conversation
from avatar_lab.evaluation.measure import conversation_cues, measure
from avatar_lab.evaluation.measure_pooled import measure_pooled
from avatar_lab.evaluation.metric.picture import Look
from avatar_lab.evaluation.metric.voice import Voice
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.observation import Observation
from avatar_lab.evaluation.rows import Measurement, Status
from avatar_lab.event_types import EventType
from avatar_lab.perception.pixel_reader import READ_CHANNELS
from avatar_lab.world.agents import frozen, oracle, yoked
from avatar_lab.world.graph import world_v1
from avatar_lab.world.simulate import simulate
from tests.evaluation.metric.signals import ar1
from tests.evaluation.planted import LAYOUT, act, conversation, event
from tests.evaluation.test_world_order import conversation as world_conversation
from tests.evaluation.test_world_order import from_tracks

TURNS = ("speaking_share", "take_over_after_turn", "response_latency", "yield_rate", "long_silence_rate")


def moving(judged: Conversation, seed: int) -> Observation:
    """A planted agent whose face moves."""
    frames = round(judged.seconds * LAYOUT.fps)
    return replace(act("oracle", judged), channels_PC=ar1(frames, seed=seed, dims=len(READ_CHANNELS)))


def rows_of(judged: Conversation, observation: Observation, **more: object) -> dict[str, Measurement]:
    rows = measure(judged, observation, conversation_cues(judged, seed=0), LAYOUT, **more)
    by_name = {row.metric: row for row in rows}
    assert len(by_name) == len(rows), "one row per metric"
    assert all(row.reason for row in rows if row.status is not Status.OK)
    return by_name


def test_every_described_metric_has_a_row_once_truth_and_user_are_there() -> None:
    judged = conversation(0, "a")
    truth, user = moving(judged, 1), moving(judged, 2)
    own = set(rows_of(judged, moving(judged, 0), truth=truth, user=user, free=True))
    made, people = {judged.name: moving(judged, 0)}, {judged.name: truth, judged.partner: user}
    pooled = {row.metric for row in measure_pooled([judged], made, people, layout=LAYOUT, seed=0, free=True)}
    assert own | pooled == {name for name, metric in METRICS.items() if metric.plugin is None}, "plugins are off"
    assert not own & pooled
    without = rows_of(judged, moving(judged, 0))
    assert not any(name.endswith(("ratio", "coupling", "rpcc")) for name in without)


def test_turn_taking_is_given_by_a_script() -> None:
    judged = conversation(0, "a")
    scripted, free = (rows_of(judged, moving(judged, 0), free=flag) for flag in (False, True))
    assert {scripted[name].status for name in TURNS} == {Status.GIVEN}
    assert free["long_silence_rate"].reason == "the user says nothing"
    assert free["take_over_after_turn"].n > 0
    talkative = replace(judged, events=[*judged.events, event(judged.key, judged.user, EventType.IPU, 20, 36)])
    share = rows_of(talkative, moving(judged, 0), free=True)["speaking_share"]
    assert share.value == pytest.approx(0.5)


def test_the_truth_scores_as_the_truth() -> None:
    judged = conversation(0, "a")
    truth = moving(judged, 1)
    rows = rows_of(judged, truth, truth=truth, user=moving(judged, 2))
    for name in ("head", "jaw"):
        assert rows[f"{name}_variance_ratio"].value == rows[f"{name}_jerk_ratio"].value == 1
    assert rows["pitch_rpcc"].value == 0
    seam, drift = rows["head_seam_jerk"].value, rows["head_motion_drift"].value
    assert seam is not None
    assert drift is not None
    assert seam == pytest.approx(1, abs=0.15)
    assert abs(drift) < 1


def test_whose_voice_reactions_are_and_how_pictures_keep() -> None:
    judged = conversation(0, "a")
    seconds = judged.seconds
    person = Voice(f0_R=np.full(round(seconds * 100), 4.0), level_R=np.full(round(seconds * 100), -20.0))
    fading = np.exp(-0.1 * np.arange(0, seconds, 0.2) / 60)
    look = Look(luma_P=fading, saturation_P=np.full_like(fading, 0.5), sharpness_P=fading**2)
    truth = replace(moving(judged, 1), voice=person)
    events = [event(judged.key, judged.side, EventType.BACKCHANNEL, 10.0, 10.6)]
    other = replace(truth, events=events, voice=replace(person, f0_R=person.f0_R - 7), look=look)
    rows = rows_of(judged, other, truth=truth, user=moving(judged, 2))
    assert rows["reaction_voice_distance"].value == pytest.approx(7)
    assert rows["luma_drift"].value == pytest.approx(-10, abs=0.1)
    assert rows["saturation_drift"].value == pytest.approx(0, abs=1e-9)
    assert rows["sharpness_drift"].value == pytest.approx(-20, abs=0.2)
    black = rows_of(judged, replace(other, look=None), truth=truth)
    assert black["luma_drift"].status is Status.UNDEFINED


def test_gaze_and_leans() -> None:
    judged = conversation(0, "a")
    user_leans = [event(judged.key, judged.user, EventType.LEAN, start, start + 2) for start in (20.0, 35.0, 50.0)]
    judged = replace(judged, events=[*judged.events, *user_leans])
    lean_PC = np.zeros((round(judged.seconds * LAYOUT.fps), len(READ_CHANNELS)))
    for lean in user_leans:
        lean_PC[round((lean.start + 0.5) * 25) : round((lean.start + 2.0) * 25), READ_CHANNELS.index("lean")] = 0.4
    away = event(judged.key, judged.side, EventType.GAZE_AWAY, 0.0, 4.0)
    answering = replace(act("oracle", judged), channels_PC=lean_PC, events=[away])
    rows = rows_of(judged, answering)
    assert rows["lean_answer"].value == pytest.approx(0.4, abs=0.05)
    assert rows["gaze_share_speaking"].value == pytest.approx(0.75)


def test_a_frozen_agent_is_undefined_where_it_does_nothing() -> None:
    judged = conversation(0, "a")
    still = replace(act("frozen", judged), channels_PC=np.zeros((1600, len(READ_CHANNELS))))
    rows = rows_of(judged, still, truth=moving(judged, 1), user=moving(judged, 2))
    assert rows["head_variance_ratio"].value == 0
    assert rows["smile_recall"].value == 0
    for name in ("smile_placement_auc", "smile_precision", "head_seam_jerk", "pitch_coupling", "pitch_rpcc"):
        assert rows[name].status is Status.UNDEFINED, name
    unread = rows_of(judged, act("frozen", judged))
    assert "0 frames" in str(unread["head_seam_jerk"].reason)


@pytest.mark.ci
def test_oracle_above_yoked_above_frozen() -> None:
    """In the world, where it is known who reacts to whom."""
    seconds, graph = 96.0, world_v1()
    dialogues = [simulate(seed, seconds, graph=graph, held_out=True) for seed in range(8)]
    found: dict[str, list[dict[str, Measurement]]] = {"oracle": [], "yoked": [], "frozen": []}
    for index, dialogue in enumerate(dialogues):
        side = "ab"[index % 2]
        judged = replace(world_conversation(dialogue, side), seconds=seconds, num_blocks=LAYOUT.num_blocks(seconds))
        partner = replace(judged, side=judged.user)
        truth = from_tracks(dialogue, judged, oracle(dialogue, side))
        user = from_tracks(dialogue, partner, oracle(dialogue, partner.side))
        agents = {
            "oracle": truth,
            "yoked": from_tracks(dialogue, judged, yoked(dialogue, dialogues[(index + 1) % 8], side)),
            "frozen": from_tracks(dialogue, judged, frozen(dialogue, side)),
        }
        for name, observation in agents.items():
            found[name].append(rows_of(judged, observation, truth=truth, user=user))

    def mean(agent: str, metric: str) -> float:
        values = [rows[metric].value for rows in found[agent]]
        return float(np.mean([value for value in values if value is not None]))

    for kind in ("nod", "smile"):
        assert mean("oracle", f"{kind}_placement_auc") > 0.9, kind
        assert mean("yoked", f"{kind}_placement_auc") == pytest.approx(0.5, abs=0.15), kind
        assert mean("oracle", f"{kind}_recall") > 0.6 > mean("yoked", f"{kind}_recall") > 0, kind
        assert mean("frozen", f"{kind}_recall") == 0, kind
    assert mean("oracle", "smile_coupling") > mean("yoked", "smile_coupling") + 0.1
    assert mean("oracle", "head_variance_ratio") == 1
    assert 0.4 < mean("yoked", "head_variance_ratio") < 2.5
    assert mean("frozen", "head_variance_ratio") == 0
