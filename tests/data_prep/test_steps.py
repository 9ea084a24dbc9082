import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from avatar_lab.event_types import Event, EventType, from_table, to_table
from avatar_lab.events.segments import Segment
from avatar_lab.events.vad import detect_speech
from data_prep.blob import Blob
from data_prep.manifest import SkipReason, SkipRecording
from data_prep.notes import Notes, SpeechNotes
from data_prep.steps.crop import Crop, Crops, FaceCrop
from data_prep.steps.encode import encode_audio, encode_video
from data_prep.steps.events import find_events
from data_prep.steps.pictures import neutral_frames
from data_prep.steps.scratch import ScratchArray
from data_prep.steps.store import StepResult, StepStore, step_key
from data_prep.steps.track import NOWHERE, Face, find_face
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import RATE, ramp, tones

WHOLE = {"a": (Crop(),), "b": (Crop(),)}


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


def test_store_keeps_what_is_on_disk_and_reads_any_stretch_of_it(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    array = np.arange(60_000, dtype=np.float16).reshape(-1, 2, 3)
    on_disk = ScratchArray(tmp_path / "scratch", (0, 2, 3), np.float16)
    for piece in np.array_split(array, 7):
        on_disk.append(piece)
    store.save("encode", "k", StepResult(arrays={"a.valid": np.ones(5, bool)}, rows={"a.long": on_disk}))
    rows = store.rows("encode", "k")
    assert (rows["a.long"].shape, rows["a.long"].dtype, rows["a.long"].nbytes) == (
        array.shape,
        array.dtype,
        array.nbytes,
    )
    for span in (slice(None), slice(9_000, 20_000), slice(3, 3), slice(1, 700)):
        np.testing.assert_array_equal(rows["a.long"][span], array[span])
        np.testing.assert_array_equal(rows["a.valid"][span], np.ones(5, bool)[span])
    loaded = store.load("encode", "k")
    assert loaded is not None
    np.testing.assert_array_equal(loaded.arrays["a.long"], array)


def test_damage_to_a_stored_array_is_noticed(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    store.save("encode", "k", StepResult(arrays={"a.long": np.zeros(100_000)}))
    path = tmp_path / "encode" / "k" / "arrays.npz"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        store.rows("encode", "k")["a.long"][:]


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
def test_chunks_do_not_show_in_what_is_encoded(piece: int, tmp_path: Path) -> None:
    """The encoders run on across chunks of any size, as in a live session."""
    frames = {"a": ramp(8.0, size=16), "b": ramp(8.0, size=16, offset=60)}
    whole = encode_video(
        {s: iter([f]) for s, f in frames.items()}, FakeVideo(), WHOLE, chunk_frames=200, scratch=tmp_path
    )
    pieces = {s: iter(np.array_split(f, range(piece, len(f), piece))) for s, f in frames.items()}
    parts = encode_video(pieces, FakeVideo(), WHOLE, chunk_frames=24, scratch=tmp_path)
    for name, array in whole.items():
        np.testing.assert_array_equal(parts[name][:], array[:])
    wav = {"a": tones(8.0, [(1.0, 3.0)]), "b": tones(8.0, [(2.0, 7.0)])}
    once = encode_audio(wav, FakeAudio(), chunk_tokens=100)
    often = encode_audio(wav, FakeAudio(), chunk_tokens=7)
    np.testing.assert_array_equal(often["b"], once["b"])
    assert once["a"].dtype == np.uint16


def test_two_framings_are_encoded_apart(tmp_path: Path) -> None:
    frames = ramp(4.0, size=64).copy()
    frames[:, :, 32:] = 200
    framings = {side: (Crop(right=0.5), Crop()) for side in "ab"}
    out = encode_video({s: iter([frames]) for s in "ab"}, FakeVideo(), framings, chunk_frames=20, scratch=tmp_path)
    assert out["a.avatar_latents"][:].max() < 0
    assert out["a.user_features"][:].reshape(-1, 2, 2, 3)[:, :, 1].min() > 0.5
    same = encode_video({s: iter([frames]) for s in "ab"}, FakeVideo(), WHOLE, chunk_frames=20, scratch=tmp_path)
    np.testing.assert_array_equal(same["a.avatar_latents"][:].reshape(25, -1), same["a.user_features"][:])


def test_crop_cuts_and_scales() -> None:
    frames = torch.zeros(2, 40, 80, 3, dtype=torch.uint8)
    frames[:, 10:30, 20:60] = 255
    inner = Crop(left=0.25, right=0.75, top=0.25, bottom=0.75).apply(frames, height=16, width=16)
    assert inner.shape == (2, 16, 16, 3)
    assert (inner == 255).all()
    with pytest.raises(ValueError, match="left < right"):
        Crop(left=0.6, right=0.5)


def heard(wav: dict[str, np.ndarray]) -> dict[str, list[Segment]]:
    return {side: detect_speech(samples, RATE) for side, samples in wav.items()}


def test_events_of_planted_speech(tmp_path: Path) -> None:
    wav = {"a": tones(20.0, [(1.0, 4.0), (4.5, 9.0)]), "b": tones(20.0, [(4.1, 4.4), (6.0, 6.5), (9.5, 15.0)])}
    laugh = Event(interaction="d0", side="b", type=EventType.LAUGH, start=6.0, end=6.5, event_id=4)
    path = tmp_path / "given.parquet"
    pa.parquet.write_table(to_table([laugh]), path)
    result = find_events(heard(wav), seconds=20.0, interaction="d0", given=path, notes={})
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
    chosen = neutral_frames(
        [(0.0, 2.0), (10.0, 16.0)], table, side="a", fps=25.0, live_P=np.ones(400, bool), pictures=4
    )
    assert chosen.dtype == np.int32
    assert chosen[0] / 25 == pytest.approx(2.56, abs=0.05)
    assert chosen[1] == 100
    assert 200 <= chosen[2] < 300
    assert chosen[3] == 350
    assert len(neutral_frames([], None, side="a", fps=25.0, live_P=np.ones(3, bool), pictures=4)) == 3


def test_pictures_are_taken_while_there_is_one() -> None:
    live_P = np.zeros(400, bool)
    live_P[[7, 150, 151, 399]] = True
    chosen = neutral_frames([], None, side="a", fps=25.0, live_P=live_P, pictures=3)
    assert set(chosen.tolist()) <= set(np.flatnonzero(live_P).tolist())
    assert len(chosen) == 3
    assert neutral_frames([], None, side="a", fps=25.0, live_P=live_P & False, pictures=3).shape == (0,)


def test_short_voice_without_words_is_a_vocal_reaction(tmp_path: Path) -> None:
    """Corpora without laugh labels: one sound is a reaction where nothing was transcribed, a turn where a word was."""
    wav = {"a": tones(20.0, [(1.0, 4.0), (8.0, 12.0)]), "b": tones(20.0, [(4.6, 6.2), (13.0, 18.0)])}
    file = tmp_path / "b.json"
    file.write_bytes(b"")

    def script(words: list[tuple[float, float]] | None) -> list[float]:
        notes = {"b": Notes(blob=Blob.of(file), read=lambda _: SpeechNotes(words=words, voice=[(4.6, 6.2)]))}
        found = find_events(heard(wav), seconds=20.0, interaction="d", given=None, notes=notes)
        assert 0.2 < found.values["voice_agreement"]["b"] < 0.3
        return [round(float(start), 1) for start, _ in found.arrays["b.script"]]

    assert script([(13.0, 18.0)]) == [13.0]
    for spoken in ([(5.0, 5.3), (13.0, 18.0)], [], None):
        assert script(spoken) == [4.6, 13.0], "a word was said, or nothing is known"


def test_damaged_notes_are_a_skip(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    file.write_bytes(b"{")

    def read(raw: bytes) -> SpeechNotes:
        raise ValueError("no JSON")

    wav = {side: tones(12.0, [(1.0, 3.0)]) for side in "ab"}
    with pytest.raises(SkipRecording, match=r"b\.json: no JSON"):
        find_events(
            heard(wav),
            seconds=12.0,
            interaction="d",
            given=None,
            notes={"b": Notes(blob=Blob.of(file), read=read)},
        )


def write_features(path: Path, **arrays: np.ndarray) -> Blob:
    np.savez_compressed(path, allow_pickle=False, **{f"boxes_and_keypoints:{k}": v for k, v in arrays.items()})
    return Blob.of(path)


def test_faces_come_from_keypoints_then_from_boxes(tmp_path: Path) -> None:
    keypoints = np.zeros((50, 133, 3), np.float32)
    keypoints[:40, 23:91, 0] = np.linspace(400, 600, 68)
    keypoints[:40, 23:91, 1] = np.linspace(500, 750, 68)
    keypoints[:40, 23:91, 2] = 0.9
    box = np.tile(np.float32([300, 400, 700, 1900]), (50, 1))
    valid = np.arange(50) < 30
    blob = write_features(tmp_path / "all.npz", keypoints=keypoints, box=box, is_valid_box=valid)
    face = find_face(blob, width=1080, height=1920)
    assert (face.origin, face.share, face.stray) == ("keypoints", 0.8, 0.0)
    assert (round(face.x * 1080), round(face.y * 1920), round(face.height * 1920)) == (500, 625, 250)
    blob = write_features(tmp_path / "box.npz", keypoints=0 * keypoints, box=box, is_valid_box=valid)
    face = find_face(blob, width=1080, height=1920)
    assert (face.origin, face.share) == ("box", 0.6)
    assert (round(face.x * 1080), round(face.y * 1920), round(face.height * 1920)) == (500, 550, 300)
    blob = write_features(tmp_path / "none.npz", box=box[:0], is_valid_box=valid[:0])
    assert find_face(blob, width=1080, height=1920) == find_face(None, width=1080, height=1920) == NOWHERE


def test_damaged_features_are_a_skip(tmp_path: Path) -> None:
    blob = write_features(tmp_path / "x.npz", box=np.zeros((50, 4), np.float32))
    raw = blob.path.read_bytes()
    for damaged in (b"", raw[: len(raw) // 2], raw[:60] + bytes(40) + raw[100:]):
        blob.path.write_bytes(damaged)
        with pytest.raises(SkipRecording, match="bad_features"):
            find_face(blob, width=64, height=64)


def test_face_crops_are_square_and_inside_the_picture() -> None:
    face = Face(x=0.5, y=0.3, height=0.1, share=1.0, stray=0.0, origin="keypoints")
    crop = FaceCrop(scale=3.0, drop=0.5).at(face, height=1920, width=1080)
    width, height = (crop.right - crop.left) * 1080, (crop.bottom - crop.top) * 1920
    assert width == pytest.approx(576)
    assert height == pytest.approx(576)
    assert (crop.top + crop.bottom) / 2 == pytest.approx(0.35)
    corner = Face(x=0.02, y=0.98, height=0.4, share=1.0, stray=0.0, origin="keypoints")
    crop = FaceCrop(scale=3.0).at(corner, height=1920, width=1080)
    assert (crop.left, crop.right, crop.bottom) == pytest.approx((0.0, 1.0, 1.0))
    assert FaceCrop().at(NOWHERE, height=64, width=64) == Crop()
    assert len(Crops(avatar=FaceCrop(), user=FaceCrop(scale=6.0)).at(face, height=64, width=64)) == 2
