import pytest

from avatar_lab.events.battery import durations, per_minute


def test_pauses_gaps_and_overlaps_of_planted_speech() -> None:
    ipus = {"a": [(1.0, 3.0), (3.5, 5.0), (9.0, 10.0)], "b": [(4.5, 6.0), (6.8, 7.0), (12.0, 14.0)]}
    found = durations(ipus)
    assert found["ipu"] == pytest.approx([2.0, 1.5, 1.5, 0.2, 1.0, 2.0])
    assert found["pause"] == pytest.approx([0.5, 0.8])  # a after a at 3.0, b after b at 6.0
    assert found["gap"] == pytest.approx([2.0, 2.0])  # b to a at 7.0, a to b at 10.0; the edges are neither
    assert found["overlap"] == pytest.approx([0.5])
    rates = per_minute(found, seconds=30.0)
    assert rates["pause"] == pytest.approx({"events": 4.0, "seconds": 2.6})
    assert rates["overlap"] == pytest.approx({"events": 2.0, "seconds": 1.0})


def test_who_speaks_on_both_sides_of_a_silence_decides() -> None:
    together = {"a": [(0.0, 2.0), (3.0, 4.0)], "b": [(1.0, 2.0)]}
    assert durations(together)["pause"] == pytest.approx([1.0])  # both stopped at once, one of them goes on
    inside = {"a": [(0.0, 5.0), (6.0, 7.0)], "b": [(1.0, 2.0)]}
    assert durations(inside)["overlap"] == pytest.approx([1.0])
    assert durations(inside)["pause"] == pytest.approx([1.0])


def test_silence_has_nothing_to_count() -> None:
    nothing = durations({"a": [], "b": []})
    assert nothing == {"ipu": [], "pause": [], "gap": [], "overlap": []}
    assert per_minute(nothing, seconds=0.0)["gap"] == {"events": 0, "seconds": 0}
