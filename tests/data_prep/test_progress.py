"""Progress by media time: the time left, live drop reasons, plain lines off a terminal; headers and what they weigh."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from data_prep.headers import Headers, weights_of
from data_prep.manifest import SkipReason
from data_prep.media.client import MediaLimits
from data_prep.pipeline import Prepared
from data_prep.progress import Tally, duration, followed
from data_prep.sources.paired_files import PairedFiles
from tests.data_prep.recordings import write_pair


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def outcome(name: str, *, computed: bool = True, skip: SkipReason | None = None) -> Prepared:
    return Prepared(interaction=name, keys={}, computed=computed, skip=skip)


def test_time_left_goes_by_media_and_not_by_what_was_stored() -> None:
    clock = Clock()
    tally = Tally(weights={"long": 900.0, "short": 60.0, "old": 40.0, "last": 1000.0}, clock=clock)
    assert tally.seconds_left() is None
    clock.now = 5.0  # looking up what is stored takes time too, but says nothing about speed
    tally.add(outcome("old", computed=False))
    clock.now = 35.0
    tally.add(outcome("short"))
    assert tally.seconds_left() == pytest.approx(30.0 * 1900 / 60)
    clock.now = 485.0
    tally.add(outcome("long", skip=SkipReason.TRUNCATED))
    assert tally.share == 0.5
    assert tally.seconds_left() == pytest.approx(480.0 * 1000 / 960)
    assert tally.line() == (
        "prepared 3 of 4 recordings (50% of the media); 1 were stored; 8 min 20 s left; skipped 1 truncated"
    )
    clock.now = 500.0
    tally.add(outcome("last"))
    assert "left" not in tally.line()


def test_off_a_terminal_there_is_a_line_per_tenth_or_five_minutes(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    names = [str(number) for number in range(100)]
    tally = Tally(weights=dict.fromkeys(names, 1.0), clock=clock)
    with caplog.at_level(logging.INFO):
        for name in followed(map(outcome, names), tally):
            clock.now += 1.0 if tally.count < 95 else 200.0
            assert name.computed
    lines = [record.message for record in caplog.records]
    assert [line.split()[1] for line in lines] == [*map(str, range(10, 100, 10)), "97", "99", "100"]
    assert "10 of 100 recordings (10% of the media); 1 min 21 s left" in lines[0]


def test_nothing_to_weigh_counts_recordings() -> None:
    tally = Tally(weights={"a": 0.0, "b": 0.0})
    tally.add(outcome("a", skip=SkipReason.NOT_ON_DISK))
    assert tally.share == 0.5


@pytest.mark.parametrize(
    ("seconds", "said"), [(5.6, "6 s"), (245, "4 min 5 s"), (11_400, "3 h 10 min"), (183_600, "2 d 3 h")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_headers_are_read_once_and_weigh_by_seconds(tmp_path: Path) -> None:
    root, work = tmp_path / "recordings", tmp_path / "work"
    write_pair(root, "d0", seconds=12.0)
    write_pair(root, "d1", seconds=16.0, size=16)
    write_pair(root, "d2", seconds=12.0)
    (root / "d2_speaker1.mp4").write_bytes(b"no movie")
    recordings = list(PairedFiles(root=root).recordings())
    by_bytes = weights_of(recordings, work)
    assert by_bytes["d1"] == sum(path.stat().st_size for path in root.glob("d1*"))
    with Headers(work, MediaLimits(), readers=2) as headers:
        found = {recording.interaction: extent for recording, extent in headers.extents(recordings)}
    assert found["d0"].seconds == pytest.approx(12.0, abs=0.05)
    assert (found["d0"].frames, found["d0"].pixels) == (600, 600 * 32 * 32)
    assert (found["d1"].frames, found["d1"].pixels) == (800, 800 * 16 * 16)
    assert found["d1"].bytes == by_bytes["d1"]
    assert found["d2"].problem is not None
    assert found["d2"].problem[0] == SkipReason.UNREADABLE
    assert weights_of(recordings, work) == by_bytes  # one header is not known
    known = weights_of(recordings[:2], work)
    assert known == {"d0": pytest.approx(12.0, abs=0.05), "d1": pytest.approx(16.0, abs=0.05)}
    with Headers(work, MediaLimits(timeout=0.0), readers=1) as headers:  # nobody could answer in time
        assert [extent.frames for _, extent in headers.extents(recordings[:2])] == [600, 800]
