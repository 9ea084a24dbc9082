"""The calibrated world: each edge is in the log with its cause, hangs on its switch, and answers to ``do()``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import kstest

from avatar_lab.event_types import Event, EventType
from avatar_lab.world.calibrated import calibrated
from avatar_lab.world.dialogue import SIDES, Dialogue, partner_of
from avatar_lab.world.graph import Edge, Sense, Source
from avatar_lab.world.intervention import Action, Intervention
from avatar_lab.world.scenario import ScenarioName
from avatar_lab.world.simulate import simulate
from avatar_lab.world.tracks import VOICE_RATE

SECONDS = 240.0
SHORT, FORCED_IN = 80.0, 20
NUM = 24
GRAPH = replace(calibrated(), outages=None)
Kind = EventType
EDGES = [edge for edge in GRAPH.edges if edge.response is not None]


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    return [simulate(seed, SECONDS, graph=GRAPH) for seed in range(NUM)]


def _caused(dialogue: Dialogue, edge: Edge) -> list[tuple[Event, Event]]:
    """(cue, response) pairs of the log that belong to ``edge``."""
    known = {event.event_id: event for event in dialogue.events}
    pairs = []
    for event in dialogue.events:
        cue = known.get(event.cause_id) if event.cause_id is not None else None
        if event.type is edge.response and cue is not None and cue.type is edge.cue:
            own = cue.side == event.side
            if own == (edge.source is Source.OWN):
                pairs.append((cue, event))
    return pairs


def test_every_edge_of_the_design_is_there_with_a_base_rate_and_a_sense() -> None:
    expected = {
        (Kind.PAUSE, Kind.BACKCHANNEL): Sense.AUDIO,
        (Kind.LOW_PITCH, Kind.BACKCHANNEL): Sense.AUDIO,
        (Kind.PAUSE, Kind.NOD): Sense.AUDIO,
        (Kind.LOW_PITCH, Kind.NOD): Sense.AUDIO,
        (Kind.TURN_END, Kind.TURN_START): Sense.AUDIO,
        (Kind.CLOSING, Kind.TURN_START): Sense.AUDIO,
        (Kind.HESITATION, Kind.BRIEF_INTERRUPTION): Sense.AUDIO,
        (Kind.INTERRUPTION, Kind.YIELD): Sense.AUDIO,
        (Kind.LAUGH, Kind.LAUGH): Sense.AUDIO,
        (Kind.LAUGH, Kind.SMILE): Sense.AUDIO,
        (Kind.LIVELY, Kind.LIVELY): Sense.AUDIO,
        (Kind.SMILE, Kind.SMILE): Sense.VIDEO,
        (Kind.NOD, Kind.NOD): Sense.VIDEO,
        (Kind.LEAN, Kind.LEAN): Sense.VIDEO,
        (Kind.GAZE_AWAY, Kind.PAUSE): Sense.VIDEO,
        (Kind.HAND_RAISE, Kind.YIELD): Sense.VIDEO,
    }
    partner = [edge for edge in GRAPH.edges if edge.source is Source.PARTNER]
    assert {(edge.cue, edge.response): edge.sense for edge in partner} == expected
    assert set(GRAPH.negative_controls) == {Kind.BLINK, Kind.BACKGROUND}
    spontaneous = {behaviour.type for behaviour in GRAPH.behaviours if behaviour.rate > 0}
    # turns start after lapses, end and pause by plan: those are the base rates of what has no row
    assert {edge.response for edge in partner} - {Kind.TURN_START, Kind.YIELD, Kind.PAUSE} <= spontaneous


@pytest.mark.ci
@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge.name)
def test_edges_are_in_the_log_with_cause_and_delay(dialogues: list[Dialogue], edge: Edge) -> None:
    pairs = [pair for dialogue in dialogues for pair in _caused(dialogue, edge)]
    assert len(pairs) >= 8
    delays = []
    for cue, response in pairs:
        assert response.delay is not None
        reference = cue.end if edge.after_end and cue.type is not Kind.TURN_END else cue.start
        assert response.start == pytest.approx(reference + response.delay)
        delays.append(response.delay)
    assert edge.delay is not None
    if edge.response is not Kind.TURN_START:
        assert edge.delay.low - 1e-9 <= min(delays) <= max(delays) <= edge.delay.high + 1e-9
    if edge.response not in (Kind.TURN_START, Kind.YIELD, Kind.PAUSE) and not edge.after_end:
        # what the floor or a refractory time swallows does not know the delay, except for late answers to the end
        assert kstest(delays, np.vectorize(edge.delay.cdf)).statistic < 0.1 + 1.63 / np.sqrt(len(delays))


@pytest.mark.ci
@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge.name)
def test_an_edge_that_is_switched_off_causes_nothing(edge: Edge) -> None:
    graph = GRAPH.without([edge.name])
    assert graph.fingerprint() != GRAPH.fingerprint()
    off = [simulate(seed, SECONDS / 2, graph=graph) for seed in range(4)]
    assert not [pair for dialogue in off for pair in _caused(dialogue, edge)]


def _floor_of(dialogue: Dialogue) -> list[Event]:
    return sorted((e for e in dialogue.events if e.type is Kind.TURN), key=lambda turn: turn.start)


def test_turns_alternate_overlap_and_never_run_dry(dialogues: list[Dialogue]) -> None:
    overlaps = 0
    for dialogue in dialogues:
        turns = _floor_of(dialogue)
        for before, after in pairwise(turns):
            assert before.side != after.side
            assert after.start - before.end < 8, "someone speaks again"
            overlaps += after.start < before.end
        for side in SIDES:
            own = [turn for turn in turns if turn.side == side]
            assert all(left.end <= right.start for left, right in pairwise(own)), "no one speaks twice at once"
            for event in dialogue.of(side, Kind.BACKCHANNEL):
                assert all(event.end < turn.start or event.start > turn.end for turn in own)
    assert overlaps > 0.3 * sum(len(_floor_of(dialogue)) for dialogue in dialogues)


def test_a_yield_ends_the_turn_and_the_interrupter_has_the_floor(dialogues: list[Dialogue]) -> None:
    won = 0
    for dialogue in dialogues:
        known = {event.event_id: event for event in dialogue.events}
        for stop in (event for event in dialogue.events if event.type is Kind.YIELD):
            cause = known[stop.cause_id] if stop.cause_id is not None else None
            assert cause is not None
            if cause.type is not Kind.INTERRUPTION:
                continue
            assert any(e.type is Kind.TURN and e.end == stop.start for e in dialogue.of(stop.side))
            taken = [e for e in dialogue.of(cause.side, Kind.TURN) if e.start == cause.start]
            assert len(taken) == 1
            assert taken[0].end > stop.start or taken[0].end == SECONDS
            won += 1
            rows = slice(round(stop.start * VOICE_RATE) + 4, round(stop.start * VOICE_RATE) + 10)
            if not any(e.start < stop.start + 0.1 and e.end > stop.start for e in dialogue.of(stop.side, Kind.LAUGH)):
                assert dialogue.tracks[stop.side].voice_RQ[rows, -1].max() < 0.02
    assert won >= 8


def test_the_same_log_again(dialogues: list[Dialogue]) -> None:
    assert simulate(3, SECONDS, graph=GRAPH).events == dialogues[3].events
    longer = simulate(3, SECONDS + 60, graph=GRAPH)
    early = [e.event_id for e in longer.events if e.start < SECONDS - 3]
    assert early == [e.event_id for e in dialogues[3].events if e.start < SECONDS - 3]


def _unchanged_before(before: Dialogue, after: Dialogue, time: float) -> None:
    assert [e for e in before.events if e.end < time] == [e for e in after.events if e.end < time]
    frames, rows = int(time * before.layout.fps) - 1, int(time * VOICE_RATE) - 4
    for side in SIDES:
        old, new = before.tracks[side], after.tracks[side]
        np.testing.assert_array_equal(old.face_TP[:frames], new.face_TP[:frames])
        np.testing.assert_array_equal(old.voice_RQ[:rows], new.voice_RQ[:rows])


def _moment(dialogue: Dialogue) -> tuple[str, float] | None:
    """(speaker, time) in the middle of a long stretch in which one person has the floor alone, if there is one."""
    turns = _floor_of(dialogue)
    for turn in turns:
        begin = max([turn.start, *(t.end for t in turns if t.side != turn.side and t.start < turn.start)])
        for closing in dialogue.of(turn.side, Kind.CLOSING):
            if turn.start < closing.start <= turn.end and closing.start - begin > 9:
                planned = [cue for t in dialogue.turns if t.side == turn.side for cue in t.cues]
                for time in np.arange(begin + 2, begin + 6, 0.1):
                    if not any(cue.onset - 0.8 < time < cue.end + 0.4 for cue in planned):
                        return turn.side, float(time)
    return None


FORCED = {
    Kind.PAUSE: (True, Kind.BACKCHANNEL, 0.7),
    Kind.LOW_PITCH: (True, Kind.NOD, 0.3),
    Kind.HESITATION: (True, Kind.BRIEF_INTERRUPTION, 0.6),
    Kind.TURN_END: (True, Kind.TURN_START, 0.0),
    Kind.LIVELY: (True, Kind.LIVELY, 3.0),
    Kind.SMILE: (False, Kind.SMILE, 2.0),
    Kind.NOD: (False, Kind.NOD, 0.9),
    Kind.LEAN: (False, Kind.LEAN, 4.0),
    Kind.LAUGH: (False, Kind.LAUGH, 1.0),
    Kind.GAZE_AWAY: (False, Kind.PAUSE, 1.0),
    Kind.HAND_RAISE: (False, Kind.YIELD, 2.0),
    Kind.INTERRUPTION: (False, Kind.YIELD, 1.2),
    Kind.BLINK: (False, None, 0.2),
    Kind.BACKGROUND: (False, None, 5.0),
}
"""By cue type: whether it is the speaker's, what the partner may answer, its length."""


@pytest.mark.ci
@pytest.mark.parametrize("kind", FORCED)
def test_a_forced_cue_changes_only_what_comes_after_it(kind: EventType) -> None:
    speakers, response, seconds = FORCED[kind]
    answered = tried = changed = 0
    for seed in range(FORCED_IN):
        before = simulate(seed, SHORT, graph=GRAPH)
        moment = _moment(before)
        if moment is None:
            continue
        speaker, time = moment
        side = speaker if speakers else partner_of(speaker)
        one = Intervention(action=Action.FORCE, side=side, type=kind, start=time, end=time + seconds)
        try:
            after = simulate(seed, SHORT, graph=GRAPH, do=[one])
        except ValueError:
            if kind not in (Kind.INTERRUPTION, Kind.LAUGH):  # a listener who just uttered something cannot do these
                raise
            continue
        forced = next(e for e in after.of(side, kind) if e.start == time)
        _unchanged_before(before, after, time)
        tried += 1
        answers = [e for e in after.of(partner_of(side)) if e.cause_id == forced.event_id]
        assert {e.type for e in answers} <= {edge.response for edge in GRAPH.from_cue(kind)}
        answered += any(e.type is response for e in answers)
        others = [e for e in (*before.events, *after.events) if e.side != side or e.type is not kind]
        changed += len({e.event_id for e in others if others.count(e) == 1}) > 0
    assert tried >= 8
    if response is None:
        assert changed == 0, "a negative control changes nothing but itself"
        return
    chance = max(edge.probability for edge in GRAPH.from_cue(kind) if edge.response is response)
    assert answered >= 0.4 * chance * tried


@pytest.mark.ci
def test_a_yield_that_is_removed_leaves_the_turn_as_it_was() -> None:
    yielded = 0
    for seed in range(FORCED_IN):
        before = simulate(seed, SHORT, graph=GRAPH)
        moment = _moment(before)
        if moment is None:
            continue
        speaker, time = moment
        hand = Intervention(
            action=Action.FORCE, side=partner_of(speaker), type=Kind.HAND_RAISE, start=time, end=time + 2
        )
        spared = Intervention(action=Action.REMOVE, side=speaker, type=Kind.YIELD, start=time, end=time + 3)
        after, kept = (simulate(seed, SHORT, graph=GRAPH, do=do) for do in ([hand], [hand, spared]))
        yielded += any(time <= event.start < time + 3 for event in after.of(speaker, Kind.YIELD))
        assert not any(time <= event.start < time + 3 for event in kept.of(speaker, Kind.YIELD))
        turns = [next(t for t in one.turns if t.side == speaker and t.start <= time < t.end) for one in (before, kept)]
        assert turns[1].end >= turns[0].end, "nothing else ends it"
    assert yielded >= 3


@pytest.mark.ci
def test_video_cues_are_not_answered_while_the_camera_is_off() -> None:
    graph = calibrated()
    assert graph.outages is not None
    graph = replace(graph, outages=replace(graph.outages, camera_share=1.0, microphone_share=1.0))
    off = {Sense.VIDEO: Kind.CAMERA_OFF, Sense.AUDIO: Kind.MICROPHONE_OFF}
    unseen = 0
    for seed in range(6):
        dialogue = simulate(seed, SECONDS, graph=graph)
        assert len(dialogue.outages.spans) == 4
        assert {e.type for e in dialogue.events} >= set(off.values())
        for edge in graph.edges:
            if edge.source is Source.OWN:
                continue
            for cue, _ in _caused(dialogue, edge):
                start, end = dialogue.outages.spans[cue.side, off[edge.sense]]
                time = cue.end if edge.after_end else cue.start
                assert not start <= time < end
            unseen += sum(
                dialogue.outages.off(e.side, off[edge.sense], e.start) for e in dialogue.events if e.type is edge.cue
            )
    assert unseen > 50


def _effect(values: Sequence[Sequence[float]]) -> float:
    """Variance of group means beyond what the scatter within groups explains."""
    means = [float(np.mean(group)) for group in values]
    return float(np.var(means) - np.mean([np.var(group) / len(group) for group in values]))


@pytest.mark.ci
def test_dyads_differ_more_than_speakers() -> None:
    offsets: list[dict[str, list[float]]] = []
    for seed in range(60):
        own: dict[str, list[float]] = {side: [] for side in SIDES}
        for old, new in pairwise(_floor_of(simulate(seed, 480.0, graph=GRAPH))):
            if new.start > old.end:
                own[new.side].append(float(np.log(new.start - old.end)))
        if min(map(len, own.values())) >= 8:
            offsets.append(own)
    assert len(offsets) > 40
    between = _effect([[*own["a"], *own["b"]] for own in offsets])
    both = np.asarray([[np.mean(own[side]) for side in SIDES] for own in offsets])
    noise = np.mean([np.var(group) / len(group) for own in offsets for group in own.values()])
    speaker = (np.var(both[:, 0] - both[:, 1]) / 2) - noise
    assert between > 0.03
    assert between - speaker / 2 > 1.5 * speaker, "who sets the gap is first of all the dyad"


@pytest.mark.parametrize("name", ScenarioName)
def test_scenarios_differ_in_who_speaks(name: ScenarioName) -> None:
    spoken = dict.fromkeys(SIDES, 0.0)
    for seed in range(12):
        for turn in _floor_of(simulate(seed, SECONDS, graph=calibrated(name))):
            spoken[turn.side] += turn.end - turn.start
    share = spoken["b"] / sum(spoken.values())
    low, high = (0.42, 0.58) if name is ScenarioName.CASUAL else (0.6, 0.8)
    assert low <= share <= high


def test_the_held_out_world_has_other_people_and_other_strengths() -> None:
    other = calibrated(held_out=True)
    assert other.fingerprint() != calibrated().fingerprint()
    for edge in calibrated().edges:
        changed = other.edge(edge.name)
        if edge.source is Source.PARTNER:
            assert abs(changed.probability / edge.probability - 1) > 0.1 or changed.probability == 0.98
            assert changed.delay != edge.delay
        else:
            assert changed == edge
    assert simulate(0, 30, graph=other, held_out=True).persons["a"].held_out
