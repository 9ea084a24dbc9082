"""Reference agents stand in the right order, and the delayed oracle never answers what it cannot have perceived."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from avatar_lab.event_types import EventType
from avatar_lab.layout import Layout, Stream
from avatar_lab.world.agents import Performance, delayed_oracle, frozen, mean_motion, oracle, random_clip, yoked
from avatar_lab.world.calibrated import calibrated
from avatar_lab.world.contingency import contingency
from avatar_lab.world.dialogue import Dialogue, partner_of
from avatar_lab.world.graph import world_v1
from avatar_lab.world.record import render_person
from avatar_lab.world.simulate import simulate
from avatar_lab.world.spans import Spans
from avatar_lab.world.tracks import VOICE_RATE

SECONDS = 90.0
SIDE = "a"
LAYOUT = Layout()
REACTIONS = (EventType.NOD, EventType.BACKCHANNEL, EventType.SMILE)


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    return [simulate(seed, SECONDS, graph=world_v1(), held_out=True) for seed in range(24)]


@pytest.fixture(scope="module")
def performances(dialogues: list[Dialogue]) -> dict[str, list[Performance]]:
    others = dialogues[1:] + dialogues[:1]
    return {
        "oracle": [oracle(d, SIDE) for d in dialogues],
        "delayed": [delayed_oracle(d, SIDE, LAYOUT) for d in dialogues],
        "yoked": [yoked(d, other, SIDE) for d, other in zip(dialogues, others, strict=True)],
        "frozen": [frozen(d, SIDE) for d in dialogues],
    }


def _rates(performances: list[Performance]) -> Counter[EventType]:
    return Counter(event.type for one in performances for event in one.events)


@pytest.mark.parametrize(
    ("cue", "response"),
    [
        (EventType.PAUSE, EventType.NOD),
        (EventType.PAUSE, EventType.BACKCHANNEL),
        (EventType.SMILE, EventType.SMILE),
        (EventType.BLINK, EventType.NOD),
    ],
)
def test_contingency_orders_the_agents(
    dialogues: list[Dialogue], performances: dict[str, list[Performance]], cue: EventType, response: EventType
) -> None:
    difference, chance = {}, {}
    for name, agents in performances.items():
        total = np.zeros(4)
        for dialogue, agent in zip(dialogues, agents, strict=True):
            pairs = contingency(dialogue.events, agent.events, avatar=SIDE, cue=cue, response=response, seconds=SECONDS)
            total += [count for pair in pairs for count in pair]
        difference[name] = total[0] / total[1] - total[2] / total[3]
        chance[name] = total[2] / total[3]
    assert abs(difference["yoked"]) < 0.12
    assert difference["frozen"] == chance["frozen"] == 0
    if cue in world_v1().negative_controls:
        assert abs(difference["oracle"]) < 0.06
        return
    assert difference["oracle"] > 0.5
    assert difference["oracle"] - 0.1 < difference["delayed"] <= difference["oracle"] + 0.05
    assert chance["yoked"] > 0.05, "yoked reacts, at the wrong times"


def test_the_yoked_agent_reacts_at_the_right_rate(performances: dict[str, list[Performance]]) -> None:
    truth, placed = _rates(performances["oracle"]), _rates(performances["yoked"])
    for kind in REACTIONS:
        assert 0.8 < placed[kind] / truth[kind] < 1.2
    for kind in (EventType.TURN, EventType.IPU, EventType.PAUSE):
        assert placed[kind] == truth[kind], "its own turns stay"


def test_the_delayed_oracle_waits_for_evidence(
    dialogues: list[Dialogue], performances: dict[str, list[Performance]]
) -> None:
    sense = {
        EventType.PAUSE: Stream.USER_AUDIO,
        EventType.LOW_PITCH: Stream.USER_AUDIO,
        EventType.SMILE: Stream.USER_VIDEO,
    }
    late = moved = 0
    for dialogue, agent in zip(dialogues, performances["delayed"], strict=True):
        truth = {event.event_id: event for event in dialogue.of(SIDE)}
        cues = {event.event_id: event for event in dialogue.of(partner_of(SIDE))}
        for event in agent.events:
            original = truth[event.event_id]
            if event.cause_id not in cues or event.type not in REACTIONS:
                assert event.start == original.start
                continue
            assert event.cause_id is not None
            cue, stream = cues[event.cause_id], sense[cues[event.cause_id].type]
            block = int(event.start / LAYOUT.block_seconds + 1e-9)
            seen = LAYOUT.visible_end(stream, block) * float(LAYOUT.grid(stream))
            evidence = cue.end if cue.type is EventType.LOW_PITCH else cue.start + 0.2
            assert seen >= evidence - 1e-6
            assert event.start >= original.start
            assert event.start - evidence <= max(original.start - evidence, LAYOUT.worst_reaction(stream) + 0.2)
            late += event.start > original.start
            moved += 1
    assert 0 < late < 0.5 * moved, "some answers come too early for a delayed avatar, most do not"


@pytest.fixture(scope="module")
def calibrated_dialogues() -> list[Dialogue]:
    graph = replace(calibrated(), outages=None)
    return [simulate(seed, 180.0, graph=graph, held_out=True) for seed in range(24)]


def test_the_delayed_oracle_binds_in_the_calibrated_world(calibrated_dialogues: list[Dialogue]) -> None:
    late: Counter[EventType] = Counter()
    answered: Counter[EventType] = Counter()
    for dialogue in calibrated_dialogues:
        agent = delayed_oracle(dialogue, SIDE, LAYOUT)
        truth = {event.event_id: event for event in dialogue.of(SIDE)}
        theirs = {event.event_id for event in dialogue.of(partner_of(SIDE))}
        for event in agent.events:
            original = truth[event.event_id]
            if event.cause_id in theirs and event.type is not EventType.TURN_START:
                assert event.start >= original.start - 1e-9
                answered[event.type] += 1
                late[event.type] += event.start > original.start + 1e-9
        starts = [event.start for event in agent.events if event.type is EventType.TURN_START]
        assert starts == [event.start for event in dialogue.of(SIDE, EventType.TURN_START)], "its script is given"
    for kind in (EventType.YIELD, EventType.BACKCHANNEL, EventType.NOD, EventType.SMILE, EventType.LAUGH):
        assert answered[kind] >= 5
        assert 0.1 < late[kind] / answered[kind] < 0.95, f"{kind}: some delays are shorter than the input's"


def test_a_late_yield_goes_on_speaking_until_then(calibrated_dialogues: list[Dialogue]) -> None:
    longer = 0
    for dialogue in calibrated_dialogues:
        agent = delayed_oracle(dialogue, SIDE, LAYOUT)
        stops = {event.event_id: event.start for event in agent.events if event.type is EventType.YIELD}
        for stop in dialogue.of(SIDE, EventType.YIELD):
            ended = [turn for turn in dialogue.turns if turn.side == SIDE and turn.end == stop.start and turn.floor]
            late = stops[stop.event_id] - stop.start
            if not ended or late < 0.1:
                continue
            ends = [event.end for event in agent.events if event.type is EventType.TURN]
            assert any(stop.start < end <= stop.start + late + 1e-9 for end in ends)
            rows = slice(round(stop.start * VOICE_RATE) + 4, round((stop.start + late) * VOICE_RATE) - 4)
            assert dialogue.tracks[SIDE].voice_RQ[rows, -1].max() < 0.02
            longer += agent.tracks.voice_RQ[rows, -1].max() > 0.1
    assert longer >= 3


def test_agents_that_do_not_know_the_user(calibrated_dialogues: list[Dialogue]) -> None:
    first, other = calibrated_dialogues[:2]
    clip = random_clip(first, other, SIDE)
    assert [event.start for event in clip.events] == [event.start for event in other.of(SIDE)]
    assert {event.interaction for event in clip.events} == {first.interaction}
    assert not [event for event in clip.events if event.cause_id is not None]
    assert len(clip.tracks.face_TP) == len(first.tracks[SIDE].face_TP)
    heights = [np.median(tracks.voice_RQ[:, 2]) for tracks in (clip.tracks, first.tracks[SIDE])]
    assert heights[0] == pytest.approx(heights[1], rel=0.1), "with the avatar's own voice"
    with pytest.raises(ValueError, match="too short"):
        random_clip(first, simulate(5, 60.0, graph=first.graph), SIDE)
    mean = mean_motion(first, SIDE)
    assert np.ptp(mean.tracks.face_TP, axis=0).max() == 0
    np.testing.assert_allclose(mean.tracks.face_TP[0], first.tracks[SIDE].face_TP.mean(0), rtol=1e-4, atol=1e-4)
    assert {event.type for event in mean.events} >= {EventType.TURN, EventType.IPU, EventType.PAUSE}
    assert not [event for event in mean.events if event.type in REACTIONS]
    placed = yoked(first, other, SIDE)
    truth = [event for event in other.of(SIDE) if event.type is EventType.NOD]
    assert 0.6 < len([e for e in placed.events if e.type is EventType.NOD]) / len(truth) < 1.6


def test_performances_render_and_frozen_stands_still(
    dialogues: list[Dialogue], performances: dict[str, list[Performance]]
) -> None:
    dialogue, person = dialogues[0], dialogues[0].persons[SIDE]
    tracks = performances["frozen"][0].tracks
    frames_PHWC, wav_S = render_person(person, tracks, LAYOUT, np.random.default_rng(0))
    assert (frames_PHWC == frames_PHWC[:1]).all()
    assert np.abs(wav_S).max() < 1e-3
    blocks = LAYOUT.num_blocks(SECONDS)
    assert len(frames_PHWC) == blocks * LAYOUT.frames_per_block
    assert len(wav_S) == blocks * LAYOUT.samples_per_block
    np.testing.assert_array_equal(performances["oracle"][0].tracks.face_TP, dialogue.tracks[SIDE].face_TP)
    for name in ("delayed", "yoked"):
        moved = [a.tracks.face_TP - d.tracks[SIDE].face_TP for a, d in zip(performances[name], dialogues, strict=True)]
        assert sum(np.abs(difference_TP).max() > 1 for difference_TP in moved) > 0.4 * len(dialogues)


def test_vocal_reactions_never_collide_with_own_speech(
    dialogues: list[Dialogue], performances: dict[str, list[Performance]]
) -> None:
    for name in ("delayed", "yoked"):
        for dialogue, agent in zip(dialogues, performances[name], strict=True):
            own = [turn for turn in dialogue.turns if turn.side == SIDE]
            for event in agent.events:
                if event.type in (EventType.BACKCHANNEL, EventType.LAUGH):
                    assert all(event.end < turn.start or event.start > turn.end for turn in own)


def test_the_clock_of_spans() -> None:
    spans = Spans.of([(1, 2), (1.5, 3), (8, 12), (5, 5)], 10)
    assert spans.spans == ((1, 3), (8, 10))
    assert spans.length == 4
    assert spans.complement().spans == ((0, 1), (3, 8))
    assert spans.contains(1)
    assert not spans.contains(3)
    for time in (1.25, 2.5, 8.0, 9.75):
        assert spans.locate(spans.elapsed(time)) == pytest.approx(time)
    assert spans.covers(8, 10)
    assert not spans.covers(2, 4)
    with pytest.raises(ValueError, match="does not lie inside"):
        spans.locate(4.0)
