from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from avatar_lab.event_types import Event, EventType, from_table, to_table
from avatar_lab.events.vad import VadRule
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.steps.crop import Crop, Crops
from data_prep.steps.encode import encode_audio, encode_video
from data_prep.steps.events import find_events
from data_prep.steps.pictures import neutral_frames
from data_prep.steps.store import StepResult, StepStore, step_key
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import RATE, ramp, tones


def test_store_returns_what_it_was_given(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    table = pa.table({"x": [1, 2]})
    assert store.load("probe", "k") is None
    store.save("probe", "k", StepResult(values={"n": 1}, arrays={"a.x": np.arange(3)}, tables={"events": table}))
    store.save("probe", "k", StepResult(values={"n": 1}, arrays={"a.x": np.arange(3)}, tables={"events": table}))
    loaded = store.load("probe", "k")
    assert loaded is not None
    assert loaded.values == {"n": 1}
    np.testing.assert_array_equal(loaded.arrays["a.x"], np.arange(3))
    assert loaded.tables["events"].equals(table)
    assert [path.name for path in (tmp_path / "probe").iterdir()] == ["k"]


def test_skips_are_stored_unless_they_may_pass(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    store.save_skip("probe", "k", SkipRecording(SkipReason.EMPTY, "nothing"))
    with pytest.raises(SkipRecording, match="empty: nothing"):
        store.load("probe", "k")
    store.save_skip("probe", "late", SkipRecording(SkipReason.TIMEOUT, "slow"))
    assert store.load("probe", "late") is None


def test_half_results_are_invisible_and_swept(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    half = store._temporary("encode", "k" * 64)
    (half / "arrays.npz").write_bytes(b"half")
    assert store.load("encode", "k" * 64) is None
    store.sweep()
    assert list((tmp_path / "encode").iterdir()) == []


def test_key_depends_on_everything() -> None:
    base = ("encode", 1, {"codec": "x"}, {"a.video": "0"})
    keys = {
        step_key(*base),
        step_key("events", *base[1:]),
        step_key("encode", 2, *base[2:]),
        step_key("encode", 1, {"codec": "y"}, base[3]),
        step_key("encode", 1, base[2], {"a.video": "1"}),
    }
    assert len(keys) == 5
    assert step_key("encode", 1, {"codec": "x"}, {"a.video": "0"}) == step_key(*base)


@pytest.mark.parametrize("piece", [3, 40, 1000])
def test_chunks_do_not_show_in_what_is_encoded(piece: int) -> None:
    """The encoders run on across chunks of any size, as in a live session."""
    frames = {"a": ramp(8.0, size=16), "b": ramp(8.0, size=16, offset=60)}
    whole = encode_video({s: iter([f]) for s, f in frames.items()}, FakeVideo(), Crops(), chunk_frames=200)
    pieces = {s: iter(np.array_split(f, range(piece, len(f), piece))) for s, f in frames.items()}
    parts = encode_video(pieces, FakeVideo(), Crops(), chunk_frames=24)
    for name, array in whole.items():
        np.testing.assert_array_equal(parts[name], array)
    wav = {"a": tones(8.0, [(1.0, 3.0)]), "b": tones(8.0, [(2.0, 7.0)])}
    once = encode_audio(wav, FakeAudio(), chunk_tokens=100)
    often = encode_audio(wav, FakeAudio(), chunk_tokens=7)
    np.testing.assert_array_equal(often["b"], once["b"])
    assert once["a"].dtype == np.uint16


def test_two_framings_are_encoded_apart() -> None:
    frames = ramp(4.0, size=64).copy()
    frames[:, :, 32:] = 200
    crops = Crops(avatar=Crop(right=0.5), user=Crop())
    out = encode_video({s: iter([frames]) for s in "ab"}, FakeVideo(), crops, chunk_frames=20)
    assert out["a.avatar_latents"].max() < 0
    assert out["a.user_features"].reshape(-1, 2, 2, 3)[:, :, 1].min() > 0.5
    same = encode_video({s: iter([frames]) for s in "ab"}, FakeVideo(), Crops(), chunk_frames=20)
    np.testing.assert_array_equal(same["a.avatar_latents"].reshape(25, -1), same["a.user_features"])


def test_crop_cuts_and_scales() -> None:
    frames = torch.zeros(2, 40, 80, 3, dtype=torch.uint8)
    frames[:, 10:30, 20:60] = 255
    inner = Crop(left=0.25, right=0.75, top=0.25, bottom=0.75).apply(frames, height=16, width=16)
    assert inner.shape == (2, 16, 16, 3)
    assert (inner == 255).all()
    with pytest.raises(ValueError, match="left < right"):
        Crop(left=0.6, right=0.5)


def test_events_of_planted_speech(tmp_path: Path) -> None:
    wav = {"a": tones(20.0, [(1.0, 4.0), (4.5, 9.0)]), "b": tones(20.0, [(4.1, 4.4), (6.0, 6.5), (9.5, 15.0)])}
    laugh = Event(interaction="d0", side="b", type=EventType.LAUGH, start=6.0, end=6.5, event_id=4)
    path = tmp_path / "given.parquet"
    pa.parquet.write_table(to_table([laugh]), path)
    result = find_events(wav, sample_rate=RATE, rule=VadRule(), interaction="d0", given=path)
    events = from_table(result.tables["events"])
    assert [e.event_id for e in events] == list(range(len(events)))
    turns = [(e.side, round(e.start, 1), round(e.end, 1)) for e in events if e.type is EventType.TURN]
    assert turns == [("a", 1.0, 9.0), ("b", 9.5, 15.0)]
    np.testing.assert_allclose(result.arrays["b.script"], [[9.5, 15.0]], atol=0.03)
    assert [e.start for e in events if e.type is EventType.BACKCHANNEL] == pytest.approx([4.1], abs=0.03)
    assert [(e.side, e.start) for e in events if e.type is EventType.LAUGH] == [("b", 6.0)]
    assert from_table(result.tables["given_events"]) == [laugh]
    assert result.arrays["b.reactions"][[4, 6, 9]].tolist() == [1, 1, 1]
    assert result.arrays["b.listening"][2] == 100
    assert result.arrays["a.listening"][2] == 0
    assert result.arrays["a.listening"][12] == 100


def test_pictures_avoid_speech_and_movement() -> None:
    blink = Event(interaction="d0", side="a", type=EventType.BLINK, start=2.2, end=2.4)
    other = Event(interaction="d0", side="b", type=EventType.SMILE, start=2.5, end=9.0)
    table = to_table([blink, other])
    chosen = neutral_frames([(0.0, 2.0), (10.0, 16.0)], table, side="a", fps=25.0, frames=400, pictures=4)
    assert chosen.dtype == np.int32
    assert chosen[0] / 25 == pytest.approx(2.56, abs=0.05)
    assert chosen[1] == 100
    assert 200 <= chosen[2] < 300
    assert chosen[3] == 350
    assert len(neutral_frames([], None, side="a", fps=25.0, frames=3, pictures=4)) == 3
