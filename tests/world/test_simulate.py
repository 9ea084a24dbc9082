"""The event simulation: determinism, human-like rates, recovery of the graph from the log, and counterfactuals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import kstest

from avatar_lab.event_types import Event, EventType
from avatar_lab.world.contingency import contingency
from avatar_lab.world.dialogue import SIDES, Dialogue, partner_of
from avatar_lab.world.graph import world_v1
from avatar_lab.world.intervention import Action, Intervention
from avatar_lab.world.person import HELD_OUT_PEOPLE, TRAINING_PEOPLE, Person
from avatar_lab.world.simulate import simulate
from avatar_lab.world.tracks import FACE_CHANNELS, VOICE_RATE

SECONDS = 120.0
GRAPH = world_v1()


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    return [simulate(seed, SECONDS, graph=GRAPH) for seed in range(48)]


def _per_minute(dialogues: Sequence[Dialogue], kind: EventType) -> float:
    """Events per person and minute."""
    return sum(len(d.of(side, kind)) for d in dialogues for side in SIDES) / len(dialogues) / SECONDS * 30


def _difference(dialogues: Sequence[Dialogue], cue: EventType, response: EventType) -> float:
    """P(response | cue) - P(response | no cue), pooled over dialogues and sides."""
    total = np.zeros(4)
    for dialogue in dialogues:
        for side in SIDES:
            log = dialogue.events
            pairs = contingency(log, log, avatar=side, cue=cue, response=response, seconds=SECONDS)
            total += [count for pair in pairs for count in pair]
    return float(total[0] / total[1] - total[2] / total[3])


def test_a_seed_is_a_conversation() -> None:
    first, again, other = (simulate(seed, 40, graph=GRAPH) for seed in (3, 3, 4))
    assert first.events == again.events
    np.testing.assert_array_equal(first.tracks["a"].face_TP, again.tracks["a"].face_TP)
    np.testing.assert_array_equal(first.tracks["b"].voice_RQ, again.tracks["b"].voice_RQ)
    assert first.events != other.events
    longer = simulate(3, 80, graph=GRAPH)
    assert [e.event_id for e in longer.events if e.start < 40] == [e.event_id for e in first.events]
    with pytest.raises(ValueError, match="from 0 on"):
        simulate(-1, 40, graph=GRAPH)


def test_held_out_people_are_other_people() -> None:
    assert not set(TRAINING_PEOPLE[:1000]) & set(HELD_OUT_PEOPLE[:1000])
    assert TRAINING_PEOPLE.stop <= HELD_OUT_PEOPLE.start
    seen, unseen = simulate(5, 10, graph=GRAPH), simulate(5, 10, graph=GRAPH, held_out=True)
    assert not any(person.held_out for person in seen.persons.values())
    assert all(person.held_out for person in unseen.persons.values())
    names = {p.name for seed in range(20) for p in simulate(seed, 1, graph=GRAPH).persons.values()}
    assert len(names) == 40
    assert Person.sample(8) == Person.sample(8) != Person.sample(9)
    with pytest.raises(ValueError, match="no person has seed"):
        Person.sample(-1)


def test_rates_lie_in_their_bands(dialogues: list[Dialogue]) -> None:
    talking = [e.end - e.start for d in dialogues for side in SIDES for e in d.of(side, EventType.TURN)]
    whole = [
        e.end - e.start for d in dialogues for side in SIDES for e in d.of(side, EventType.TURN) if e.end < SECONDS
    ]
    pauses = _per_minute(dialogues, EventType.PAUSE) * 2 * len(dialogues) * SECONDS / sum(talking)
    assert 8 <= pauses <= 12
    assert 5 <= np.median(whole) <= 9
    assert 4 <= _per_minute(dialogues, EventType.SMILE) <= 7
    assert 2.5 <= _per_minute(dialogues, EventType.BACKCHANNEL) <= 5
    assert 3 <= _per_minute(dialogues, EventType.NOD) <= 6
    assert 15 <= _per_minute(dialogues, EventType.BLINK) <= 28
    assert 0 < _per_minute(dialogues, EventType.LAUGH) <= 0.5
    by_side = [sum(e.end - e.start for d in dialogues for e in d.of(side, EventType.TURN)) for side in SIDES]
    assert 0.85 < by_side[0] / by_side[1] < 1.18


def test_pauses_leave_room_for_times_without_a_cue(dialogues: list[Dialogue]) -> None:
    for dialogue in dialogues:
        for side in SIDES:
            pauses = dialogue.of(side, EventType.PAUSE)
            for pause in pauses:
                assert pause.end - pause.start >= 0.2 or pause.end == SECONDS
            cues = sorted(pauses + dialogue.of(side, EventType.LOW_PITCH), key=lambda cue: cue.start)
            gaps = [b.start - a.end for a, b in pairwise(cues)]
            assert all(gap >= 2 or abs(gap) < 1e-9 for gap in gaps), "low pitch runs into its pause or stands alone"


def test_speech_of_the_two_does_not_collide(dialogues: list[Dialogue]) -> None:
    for dialogue in dialogues:
        turns = sorted(dialogue.turns, key=lambda turn: turn.start)
        assert all(a.side != b.side and a.end < b.start for a, b in pairwise(turns))
        for side in SIDES:
            own = [turn for turn in turns if turn.side == side]
            for event in dialogue.of(side, EventType.BACKCHANNEL) + dialogue.of(side, EventType.LAUGH):
                assert event.end - event.start < 1.0
                assert all(event.end < turn.start or event.start > turn.end for turn in own)


@pytest.mark.parametrize("name", ["pause_to_nod", "pause_to_backchannel", "smile_to_smile", "low_pitch_to_nod"])
def test_probability_and_delay_law_are_recovered_from_the_log(dialogues: list[Dialogue], name: str) -> None:
    edge = GRAPH.edge(name)
    assert edge.delay is not None
    assert edge.response is not None
    delays, cues = [], 0
    for dialogue in dialogues:
        leads = {(low.side, low.end) for side in SIDES for low in dialogue.of(side, EventType.LOW_PITCH)}
        paused = {(p.side, p.start) for side in SIDES for p in dialogue.of(side, EventType.PAUSE)}
        for side in SIDES:
            answers = {event.cause_id: event for event in dialogue.of(side, edge.response)}
            for cue in dialogue.of(partner_of(side), edge.cue):
                heralds = cue.type is EventType.LOW_PITCH and (cue.side, cue.end) in paused & leads
                if cue.end > SECONDS - 2 or cue.cause_id is not None or heralds:
                    continue
                cues += 1
                if cue.event_id in answers:
                    answer = answers[cue.event_id]
                    assert answer.delay is not None
                    reference = cue.end if edge.after_end else cue.start
                    assert answer.start == pytest.approx(reference + answer.delay)
                    delays.append(answer.delay)
    error = 3 * np.sqrt(edge.probability * (1 - edge.probability) / cues)
    assert len(delays) / cues == pytest.approx(edge.probability, abs=error + 0.06), (
        "persons and refractory times differ"
    )
    assert kstest(delays, np.vectorize(edge.delay.cdf)).pvalue > 1e-3
    assert np.mean(np.asarray(delays) >= 0.45) > 0.99


def test_turns_follow_turn_ends(dialogues: list[Dialogue]) -> None:
    starts = [event for d in dialogues for side in SIDES for event in d.of(side, EventType.TURN_START)]
    ends = {e.event_id: e for d in dialogues for side in SIDES for e in d.of(side, EventType.TURN_END)}
    caused = [event for event in starts if event.cause_id is not None]
    assert len(caused) > 0.9 * (len(starts) - len(dialogues))
    for event in caused:
        assert event.cause_id is not None
        assert event.delay is not None
        assert event.start == pytest.approx(ends[event.cause_id].end + event.delay)
        assert event.side != ends[event.cause_id].side


def test_responses_hang_on_their_edges(dialogues: list[Dialogue]) -> None:
    names = ["pause_to_nod", "low_pitch_to_nod", "smile_to_smile"]
    off = [simulate(seed, SECONDS, graph=GRAPH.without(names)) for seed in range(48)]
    assert _difference(dialogues, EventType.PAUSE, EventType.NOD) > 0.6
    assert _difference(dialogues, EventType.SMILE, EventType.SMILE) > 0.6
    assert abs(_difference(off, EventType.PAUSE, EventType.NOD)) < 0.05
    assert abs(_difference(off, EventType.SMILE, EventType.SMILE)) < 0.05
    assert abs(_difference(dialogues, EventType.BLINK, EventType.NOD)) < 0.05
    for kind in (EventType.NOD, EventType.SMILE):
        expected = GRAPH.behaviour(kind).rate
        assert _per_minute(off, kind) == pytest.approx(expected, rel=0.2), "the base rate does not know the partner"
    assert _difference(off, EventType.PAUSE, EventType.BACKCHANNEL) > 0.5, "other edges stay"


def _descendants(events: Sequence[Event], roots: set[int]) -> set[int]:
    known = set(roots)
    for event in sorted(events, key=lambda event: event.start):
        if event.cause_id in known:
            known.add(event.event_id)
    return known


def _check_counterfactual(before: Dialogue, after: Dialogue, time: float, roots: set[int]) -> None:
    """Same past, and a future that differs only by descendants of ``roots`` and by what these keep from happening."""
    early = [event for event in before.events if event.end < time and event.event_id not in roots]
    assert early == [event for event in after.events if event.end < time and event.event_id not in roots]
    old, new = ({event.event_id: event for event in d.events} for d in (before, after))
    added = [event for event in after.events if event.event_id not in old]
    lost = [event for event in before.events if event.event_id not in new]
    behaviours = {behaviour.type: behaviour for behaviour in GRAPH.behaviours}
    changed: set[tuple[str, EventType]] = set()
    lineage = _descendants(added, roots) | _descendants(lost, roots)
    for event in sorted(added + lost, key=lambda event: event.start):
        assert event.start >= time - 1e-9
        elsewhere = (event.side, event.type) in changed and event.type in behaviours
        assert event.event_id in lineage or elsewhere or event.cause_id in {e.event_id for e in added + lost}
        changed.add((event.side, event.type))
    frames, rows = int(time * before.layout.fps), int(time * VOICE_RATE)
    for side in SIDES:
        np.testing.assert_array_equal(before.tracks[side].face_TP[:frames], after.tracks[side].face_TP[:frames])
        np.testing.assert_array_equal(before.tracks[side].voice_RQ[:rows], after.tracks[side].voice_RQ[:rows])


def test_a_forced_smile_changes_only_what_descends_from_it() -> None:
    answered = 0
    for seed in range(30):
        before = simulate(seed, 40, graph=GRAPH)
        time = 15.0 + 0.3 * seed
        one = Intervention(action=Action.FORCE, side="b", type=EventType.SMILE, start=time, end=time + 2)
        after = simulate(seed, 40, graph=GRAPH, do=[one])
        forced = next(event for event in after.of("b", EventType.SMILE) if event.start == time)
        _check_counterfactual(before, after, time, {forced.event_id})
        quiet = not any(time - 3.5 < event.start < time + 2 for event in before.of("a", EventType.SMILE))
        answers = [event for event in after.of("a", EventType.SMILE) if event.cause_id == forced.event_id]
        answered += bool(answers) if quiet else 0
        assert len(answers) <= 1
        assert not [event for event in after.events if event.type is EventType.TURN and event not in before.events]
    assert answered >= 10


@pytest.mark.parametrize("kind", [EventType.PAUSE, EventType.LOW_PITCH])
def test_a_forced_cue_of_speech_is_heard_and_answered(kind: EventType) -> None:
    answered = tried = 0
    for seed in range(24):
        before = simulate(seed, 40, graph=GRAPH)
        turn = next(t for t in before.turns if t.end - t.start > 5 and t.end < 38)
        # early in a turn, before any planned cue
        time = turn.start + 0.9
        one = Intervention(action=Action.FORCE, side=turn.side, type=kind, start=time, end=time + 0.3)
        after = simulate(seed, 40, graph=GRAPH, do=[one])
        forced = next(event for event in after.of(turn.side, kind) if event.start == time)
        assert [e for e in before.events if e.end < time] == [e for e in after.events if e.end < time]
        rows = slice(round(time * VOICE_RATE) + 5, round(one.end * VOICE_RATE) - 5)
        old, new = before.tracks[turn.side].voice_RQ, after.tracks[turn.side].voice_RQ
        np.testing.assert_array_equal(old[: int(time * VOICE_RATE)], new[: int(time * VOICE_RATE)])
        if kind is EventType.PAUSE:
            assert new[rows, -1].max() == 0
        else:
            voice = before.persons[turn.side].voice
            assert new[rows, 2].max() < 0.85 * voice.f0
        tried += 1
        answered += any(event.cause_id == forced.event_id and event.type is EventType.NOD for event in after.events)
    assert answered >= (0.5 if kind is EventType.PAUSE else 0.2) * tried


def test_a_removed_pause_is_spoken_through_and_draws_no_reaction() -> None:
    before = simulate(0, 60, graph=GRAPH)
    pauses = [e for side in SIDES for e in before.of(side, EventType.PAUSE)]
    caused = [p for p in pauses if any(e.cause_id == p.event_id for e in before.events)]
    pause = caused[0]
    one = Intervention(
        action=Action.REMOVE, side=pause.side, type=EventType.PAUSE, start=pause.start, end=pause.start + 0.01
    )
    after = simulate(0, 60, graph=GRAPH, do=[one])
    assert pause.event_id not in {event.event_id for event in after.events}
    assert not [event for event in after.events if event.cause_id == pause.event_id]
    rows = slice(round(pause.start * VOICE_RATE) + 3, round(pause.end * VOICE_RATE) - 3)
    assert before.tracks[pause.side].voice_RQ[rows, -1].max() == 0
    assert after.tracks[pause.side].voice_RQ[rows, -1].mean() > 0.1
    # the low pitch that led into the pause stays, and is now a cue of its own
    herald = {event.event_id for event in before.events if event.end == pause.start}
    _check_counterfactual(before, after, pause.start, {pause.event_id} | herald | _units(before, after))


def test_a_removed_low_pitch_is_not_heard() -> None:
    before = simulate(3, 60, graph=GRAPH)
    low = next(event for side in SIDES for event in before.of(side, EventType.LOW_PITCH))
    one = Intervention(action=Action.REMOVE, side=low.side, type=low.type, start=low.start, end=low.start + 0.01)
    after = simulate(3, 60, graph=GRAPH, do=[one])
    assert low.event_id not in {event.event_id for event in after.events}
    old, new = before.tracks[low.side].voice_RQ, after.tracks[low.side].voice_RQ
    np.testing.assert_array_equal(old[: int(low.start * VOICE_RATE)], new[: int(low.start * VOICE_RATE)])
    rows = slice(round(low.start * VOICE_RATE) + 4, round(low.end * VOICE_RATE))
    assert new[rows, 2].mean() > 1.1 * old[rows, 2].mean()


def _units(before: Dialogue, after: Dialogue) -> set[int]:
    """Inter-pausal units, which an edit of a pause cuts anew."""
    return {event.event_id for d in (before, after) for event in d.events if event.type is EventType.IPU}


def test_a_forced_turn_end_hands_over_the_floor() -> None:
    before = simulate(2, 60, graph=GRAPH)
    turn = next(t for t in before.turns if t.end - t.start > 6)
    time = turn.start + 1.2
    one = Intervention(action=Action.FORCE, side=turn.side, type=EventType.TURN_END, start=time, end=time)
    after = simulate(2, 60, graph=GRAPH, do=[one])
    following = next(t for t in after.turns if t.start > time)
    assert following.side != turn.side
    assert following.start - time < 4.1
    rows = slice(round(time * VOICE_RATE) + 5, round(following.start * VOICE_RATE))
    assert after.tracks[turn.side].voice_RQ[rows, -1].max() == 0


def test_an_impossible_intervention_is_refused() -> None:
    dialogue = simulate(1, 40, graph=GRAPH)
    turn = dialogue.turns[1]
    listener = partner_of(turn.side)
    time = turn.start + 0.5
    for side, kind in ((listener, EventType.PAUSE), (turn.side, EventType.BACKCHANNEL)):
        one = Intervention(action=Action.FORCE, side=side, type=kind, start=time, end=time + 0.4)
        with pytest.raises(ValueError, match="choose another time"):
            simulate(1, 40, graph=GRAPH, do=[one])
    with pytest.raises(ValueError, match="cannot remove turn"):
        simulate(
            1, 40, graph=GRAPH, do=[Intervention(action=Action.REMOVE, side="a", type=EventType.TURN, start=0, end=9)]
        )
    with pytest.raises(ValueError, match="0 <= start <= end"):
        Intervention(action=Action.FORCE, side="a", type=EventType.SMILE, start=2, end=1)


def test_events_are_visible_in_the_tracks(dialogues: list[Dialogue]) -> None:
    column = {name: index for index, name in enumerate(FACE_CHANNELS)}
    for dialogue in dialogues[:4]:
        fps = float(dialogue.layout.fps)
        for side in SIDES:
            face_TP, voice_RQ = dialogue.tracks[side].face_TP, dialogue.tracks[side].voice_RQ
            assert face_TP.shape == (int(SECONDS * fps), len(FACE_CHANNELS))
            assert len(voice_RQ) == SECONDS * VOICE_RATE
            still_T = np.ones(len(face_TP), bool)
            for event in dialogue.of(side):
                frames = slice(int(event.start * fps), int(event.end * fps) + 1)
                if event.type is EventType.NOD and event.end < SECONDS:
                    assert np.ptp(face_TP[frames, column["pitch"]]) > 5
                    still_T[frames] = False
                elif event.type is EventType.SMILE and event.end < SECONDS:
                    assert face_TP[frames, column["smile"]].max() > 0.55
                elif event.type is EventType.BLINK and event.end < SECONDS:
                    assert face_TP[frames, column["blink"]].max() > 0.85
                elif event.type in (EventType.BACKCHANNEL, EventType.LAUGH):
                    rows = slice(int(event.start * VOICE_RATE), int(event.end * VOICE_RATE))
                    assert voice_RQ[rows, -1].max() > 0.3
            assert np.std(face_TP[still_T, column["pitch"]]) < 2.5
            energy_T = voice_RQ[:, -1].reshape(len(face_TP), -1).mean(1)
            assert np.corrcoef(energy_T, face_TP[:, column["jaw"]])[0, 1] > 0.6


@pytest.mark.parametrize("seconds", [59.84, 1.28, 0.0])
def test_tracks_hold_every_whole_frame(seconds: float) -> None:
    tracks = simulate(0, seconds, graph=GRAPH).tracks["a"]
    assert len(tracks.face_TP) == round(seconds * 25)
    assert len(tracks.voice_RQ) == round(seconds * VOICE_RATE)


def test_without_the_mouth_edge_the_mouth_stays_closed() -> None:
    closed = simulate(1, 20, graph=GRAPH.without(["voice_to_mouth"]))
    jaw = FACE_CHANNELS.index("jaw")
    assert closed.tracks["a"].face_TP[:, jaw].max() == 0
    assert simulate(1, 20, graph=GRAPH).tracks["a"].face_TP[:, jaw].max() > 0.5
