import pytest

from avatar_lab.event_types import EventType
from avatar_lab.events.reactions import detect_backchannels, inter_pausal_units, overlapping_ipus
from avatar_lab.events.segments import covered_seconds, merge_close, overlap, to_mask
from avatar_lab.events.turns import detect_turn_events, find_turns, overlap_seconds, speech_shares

A_TALKS = [(0.0, 3.0), (3.5, 6.0), (6.15, 8.0)]


def test_ipus_are_bounded_by_200_ms() -> None:
    assert inter_pausal_units(A_TALKS) == [(0.0, 3.0), (3.5, 8.0)]
    assert inter_pausal_units([(0.0, 1.0), (1.2, 2.0)]) == [(0.0, 1.0), (1.2, 2.0)]


def test_gap_pause_and_overlap() -> None:
    floor = find_turns(A_TALKS, [(8.4, 11.0), (11.3, 12.0)])
    assert [(turn.side, turn.start, turn.end) for turn in floor.turns] == [("a", 0.0, 8.0), ("b", 8.4, 12.0)]
    assert floor.pauses("a") == [(3.0, 3.5)]
    assert floor.pauses("b") == [(11.0, 11.3)]
    assert [t.offset for t in floor.transfers] == pytest.approx([0.4])
    early = find_turns([(0.0, 3.0)], [(2.4, 6.0)])
    assert [t.offset for t in early.transfers] == pytest.approx([-0.6])
    assert overlap_seconds(early) == pytest.approx(0.6)
    assert speech_shares(early, seconds=8.0) == pytest.approx({"speech": 6 / 8, "overlap": 0.6 / 8, "silence": 2 / 8})


@pytest.mark.parametrize(
    ("reaction", "is_backchannel"),
    [
        ((3.1, 3.4), True),  # in the other's pause, the other goes on
        ((4.5, 5.0), True),  # over the other's speech
        ((4.5, 5.6), False),  # longer than 1 s
        ((8.2, 8.6), False),  # the other has finished: an answer
        ((20.0, 20.4), False),  # nobody holds the floor
    ],
)
def test_backchannel_rule(reaction: tuple[float, float], is_backchannel: bool) -> None:
    events = detect_backchannels([reaction], A_TALKS, side="b")
    assert [(e.side, e.type, e.start, e.end) for e in events] == (
        [("b", EventType.BACKCHANNEL, *reaction)] if is_backchannel else []
    )


def test_backchannel_needs_a_second_of_own_silence() -> None:
    assert detect_backchannels([(4.0, 4.4), (5.2, 5.5)], A_TALKS) == []
    assert len(detect_backchannels([(4.0, 4.4), (5.5, 5.8)], A_TALKS)) == 2


def test_reactions_and_brief_interruptions_take_no_floor() -> None:
    reacting = [(3.1, 3.4), (4.6, 5.9), (8.5, 12.0)]
    floor = find_turns(A_TALKS, reacting)
    assert floor.backchannels["b"] == [(3.1, 3.4)]
    assert floor.interruptions["b"] == [(4.6, 5.9)]
    assert floor.script("b") == [(8.5, 12.0)]
    assert [turn.side for turn in floor.turns] == ["a", "b"]


def test_laughs_known_from_elsewhere_take_no_floor() -> None:
    ipus = [(1.0, 2.5), (9.0, 12.0)]
    laughs = overlapping_ipus(ipus, [(1.1, 2.0), (11.5, 14.0)])
    assert laughs == [(1.0, 2.5)]
    floor = find_turns([(0.0, 1.5), (2.2, 8.0)], ipus, vocal_reactions={"b": laughs})
    assert floor.script("b") == [(9.0, 12.0)]
    assert [turn.side for turn in floor.turns] == ["a", "b"]


def test_turn_events_are_sorted_and_complete() -> None:
    events = detect_turn_events(A_TALKS, [(8.4, 11.0)], interaction="d0")
    assert [e.start for e in events] == sorted(e.start for e in events)
    assert {e.interaction for e in events} == {"d0"}
    starts = [e for e in events if e.type is EventType.TURN_START]
    assert [(e.side, e.start) for e in starts] == [("a", 0.0), ("b", 8.4)]
    assert starts[1].strength == pytest.approx(0.4)
    assert [(e.side, e.end) for e in events if e.type is EventType.TURN_END] == [("a", 8.0), ("b", 11.0)]


def test_silent_conversation_has_no_events() -> None:
    assert detect_turn_events([], []) == []
    assert detect_backchannels([], A_TALKS) == []


def test_segment_arithmetic() -> None:
    assert merge_close([(2.0, 3.0), (0.0, 1.9), (2.5, 2.6)], min_gap=0.2) == [(0.0, 3.0)]
    assert overlap([(0.0, 2.0), (3.0, 5.0)], [(1.0, 4.0)]) == [(1.0, 2.0), (3.0, 4.0)]
    assert covered_seconds([(0.5, 2.25)], rate=1.0, count=4).tolist() == [0.5, 1.0, 0.25, 0.0]
    assert to_mask([(0.08, 0.161)], rate=12.5, count=4).tolist() == [False, True, True, False]
