"""Where the log says that a camera or a microphone was off, no loss sees what the file holds, and the partner's machine
does not perceive it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from avatar_lab.data.dataset import DyadData
from avatar_lab.data.windows import WindowId
from avatar_lab.event_types import Event, EventType, from_table, to_table
from avatar_lab.layout import Layout, Stream
from data_prep.steps.events import find_events
from data_prep.steps.outages import find_outages, recorded
from tests.data_prep.recordings import Span, write_pair
from tests.data_prep.test_prepare import run

LAYOUT = Layout()
START, BLOCKS = 12, 14
FIRST_TOKEN, FIRST_LATENT = START * LAYOUT.audio_per_block, START * LAYOUT.latents_per_block
OFF_TOKENS = range(88, 100)
"""Microphone of side a, off from 7.05 to 8 s: tokens of 80 ms that this touches."""
OFF_LATENTS = range(25, 46)
"""Camera of side b, off from 4 to 6.02 s: latents of 160 ms that this touches, and 8 in which the codec forgets it."""


def _log(path: Path, spans: dict[tuple[str, EventType], Span]) -> Path:
    rows = [Event(interaction="d", side=side, type=kind, start=s, end=e) for (side, kind), (s, e) in spans.items()]
    pq.write_table(to_table(rows), path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DyadData:
    root = tmp_path_factory.mktemp("outages")
    for name in ("off", "blind", "whole"):
        write_pair(root / "in", name)
    off = {("b", EventType.CAMERA_OFF): (4.0, 6.02), ("a", EventType.MICROPHONE_OFF): (7.05, 8.0)}
    _log(root / "in" / "off.events.parquet", off)
    _log(root / "in" / "blind.events.parquet", {("a", EventType.CAMERA_OFF): (0.0, 99.0)})
    run(root / "in", root / "out")
    return DyadData(root=root / "out", layout=LAYOUT, batch_size=1, num_blocks=BLOCKS, seed=0)


def _masked(valid: np.ndarray) -> set[int]:
    return set(np.flatnonzero(~np.asarray(valid)).tolist())


@pytest.mark.parametrize("avatar", ["a", "b"])
def test_a_window_over_an_outage_is_masked_on_both_grids(data: DyadData, avatar: str) -> None:
    batch = data.cut([WindowId(key="off", side=avatar, start_block=START, num_blocks=BLOCKS)])
    own_tokens, own_latents, user_tokens, user_latents = (
        _masked(valid[0].numpy())
        for valid in (
            batch.audio_valid_BE,
            batch.video_valid_BF,
            batch.user_audio_valid_BT,
            batch.user_video_valid_BG,
        )
    )
    tokens = {token - FIRST_TOKEN for token in OFF_TOKENS}
    latents = {latent - FIRST_LATENT for latent in OFF_LATENTS}
    heard = {token + LAYOUT.lead_tokens(Stream.USER_AUDIO) for token in tokens}
    lead = LAYOUT.lead_tokens(Stream.USER_VIDEO)
    # the lead reaches back beyond the start of the recording, where there is nothing either
    seen = {latent + lead for latent in latents} | set(range(lead - FIRST_LATENT))
    before = set(range(LAYOUT.lead_tokens(Stream.USER_AUDIO) - FIRST_TOKEN))
    unrecorded = set(range(lead - FIRST_LATENT))
    expected = {"a": (tokens, set(), before, seen), "b": (set(), latents, heard | before, unrecorded)}
    assert (own_tokens, own_latents, user_tokens, user_latents) == expected[avatar]


def test_what_no_log_says_is_recorded(data: DyadData) -> None:
    for side in data.interaction("whole").sides.values():
        assert side.audio_valid.all()
        assert side.video_valid.all()


def test_reference_pictures_are_taken_while_the_camera_is_on(data: DyadData) -> None:
    frames = data.interaction("off").sides["b"].picture_frames
    assert len(frames) == 4
    assert not ((frames >= 100) & (frames <= 150)).any()
    blind = data.interaction("blind").sides["a"]
    assert (len(blind.pictures), blind.video_valid.any()) == (0, False)
    batch = data.cut([WindowId(key="blind", side=side, start_block=0, num_blocks=4) for side in "ab"])
    assert batch.anchor.present_B.tolist() == [False, True]


def test_nothing_is_found_in_what_was_off(tmp_path: Path) -> None:
    speech: dict[str, list[Span]] = {"a": [(1.0, 4.0), (5.0, 8.0), (8.5, 9.0)], "b": [(12.0, 16.0)]}
    smiles = [
        Event(interaction="d", side=side, type=EventType.SMILE, start=start, end=start + 1.0)
        for side, start in (("a", 4.5), ("a", 10.0), ("b", 4.5))
    ]
    off = {("a", EventType.MICROPHONE_OFF): (4.2, 4.6), ("a", EventType.CAMERA_OFF): (5.0, 9.9)}
    known = {"seconds": 20.0, "interaction": "d", "notes": {}, "visible": smiles}
    found = find_events(speech, given=_log(tmp_path / "log.parquet", off), **known)
    events = from_table(found.tables["events"])
    assert [(e.start, e.end) for e in events if e.type is EventType.PAUSE] == [(8.0, 8.5)]
    assert {(e.side, e.start) for e in events if e.type is EventType.SMILE} == {("a", 10.0), ("b", 4.5)}
    assert found.values["floor_transfer_offsets"] == [3.0]
    silenced = {("b", EventType.MICROPHONE_OFF): (9.5, 11.0)}
    quiet = find_events(speech, given=_log(tmp_path / "quiet.parquet", silenced), **known)
    assert quiet.values["floor_transfer_offsets"] == []
    moved = find_events(speech, given=tmp_path / "quiet.parquet", shift={"b": -1.5}, **known)
    assert moved.arrays["b.microphone_off"].tolist() == [[8.0, 9.5]]


def test_outages_are_disjoint_and_end_where_they_end() -> None:
    spans = [(3.0, 4.0), (1.0, 3.5), (6.0, 6.0), (4.0, 4.5)]
    logged = [Event(interaction="d", side="a", type=EventType.CAMERA_OFF, start=s, end=e) for s, e in spans]
    arrays = find_outages(logged)
    assert arrays["a.camera_off"].tolist() == [[1.0, 4.5]]
    assert {name: len(found) for name, found in arrays.items() if not name.startswith("a.c")} == {
        "a.microphone_off": 0,
        "b.camera_off": 0,
        "b.microphone_off": 0,
    }
    assert recorded(arrays["a.camera_off"], rate=2.0, count=12).tolist() == [True] * 2 + [False] * 7 + [True] * 3
    assert recorded(arrays["a.camera_off"], rate=2.0, count=12, settle=2).tolist() == [True] * 2 + [False] * 9 + [True]
    assert recorded(arrays["b.camera_off"], rate=2.0, count=3, settle=2).all()
    assert recorded(arrays["a.camera_off"], rate=2.0, count=0).shape == (0,)
