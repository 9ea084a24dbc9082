"""Recordings that cannot be used: each is skipped with its reason, counted, and nothing crashes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from avatar_lab.data.shards import ShardReader
from avatar_lab.layout import Layout
from data_prep.media.client import MediaLimits
from data_prep.prepare import prepare
from data_prep.sources.paired_files import PairedFiles
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import RATE, ramp, tones, write_pair, write_video

SECONDS = 11.0


def _cut(path: Path, share: float) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])


def _missing_partner(root: Path, name: str) -> None:
    for kind in ("mp4", "wav"):
        (root / f"{name}_speaker2.{kind}").unlink()


def _empty_video(root: Path, name: str) -> None:
    (root / f"{name}_speaker1.mp4").write_bytes(b"")


def _empty_audio(root: Path, name: str) -> None:
    (root / f"{name}_speaker2.wav").write_bytes(b"")


def _wav_without_samples(root: Path, name: str) -> None:
    soundfile.write(root / f"{name}_speaker2.wav", np.zeros(0, np.float32), RATE, "PCM_16")


def _random_bytes(root: Path, name: str) -> None:
    (root / f"{name}_speaker2.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))


def _truncated_without_index(root: Path, name: str) -> None:
    _cut(root / f"{name}_speaker1.mp4", 0.5)


def _truncated_with_index(root: Path, name: str) -> None:
    """The index stands in front, so the file opens and only then turns out to be short."""
    path = root / f"{name}_speaker1.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (275, 32, 32, 3), np.uint8)
    write_video(path, frames)
    moved = path.with_suffix(".moved.mp4")
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    moved.replace(path)
    _cut(path, 0.5)


def _truncated_sound(root: Path, name: str) -> None:
    _cut(root / f"{name}_speaker2.wav", 0.4)


def _no_frames(root: Path, name: str) -> None:
    """A video stream without one frame, beside sound."""
    path = root / f"{name}_speaker1.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        video = container.add_stream("mpeg4", rate=25)
        video.height = video.width = 32
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        sound = av.AudioFrame.from_ndarray(tones(SECONDS, [(1, 2)])[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts = RATE, 0
        container.mux([*audio.encode(sound), *audio.encode(None)])


def _no_sound(root: Path, name: str) -> None:
    (root / f"{name}_speaker1.wav").unlink()


def _no_video_file(root: Path, name: str) -> None:
    (root / f"{name}_speaker1.mp4").unlink()


def _sound_instead_of_video(root: Path, name: str) -> None:
    shutil.copy(root / f"{name}_speaker1.wav", root / f"{name}_speaker1.mp4")


def _mismatched(root: Path, name: str) -> None:
    soundfile.write(root / f"{name}_speaker2.wav", tones(SECONDS + 4, [(1, 2)]), RATE, "PCM_16")


def _too_short(root: Path, name: str) -> None:
    write_pair(root, name, seconds=3.0, speech_a=[(0.5, 2.0)], speech_b=[])


def _bomb(root: Path, name: str) -> None:
    write_video(root / f"{name}_speaker2.mp4", np.zeros((275, 256, 256, 3), np.uint8))


def _broken_events(root: Path, name: str) -> None:
    (root / f"{name}.events.parquet").write_bytes(b"PAR1 and nothing else")


CASES = {
    "missing_partner": (_missing_partner, "missing_partner"),
    "empty_video": (_empty_video, "empty"),
    "empty_audio": (_empty_audio, "empty"),
    "wav_without_samples": (_wav_without_samples, "empty"),
    "random_bytes": (_random_bytes, "unreadable"),
    "truncated_without_index": (_truncated_without_index, "unreadable"),
    "truncated_with_index": (_truncated_with_index, "truncated"),
    "truncated_sound": (_truncated_sound, "truncated"),
    "no_frames": (_no_frames, "no_frames"),
    "no_sound": (_no_sound, "no_audio"),
    "no_video_file": (_no_video_file, "no_video"),
    "sound_instead_of_video": (_sound_instead_of_video, "no_video"),
    "mismatched": (_mismatched, "mismatched_durations"),
    "too_short": (_too_short, "too_short"),
    "bomb": (_bomb, "too_large"),
    "broken_events": (_broken_events, "bad_events"),
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bad")
    write_pair(root, "good", seconds=SECONDS)
    for name, (spoil, _) in CASES.items():
        for part in ("_speaker1.mp4", "_speaker1.wav", "_speaker2.mp4", "_speaker2.wav"):
            shutil.copy(root / f"good{part}", root / f"{name}{part}")
        spoil(root, name)
    return root


def _prepare(recordings: Path, out: Path, **changes: object) -> None:
    prepare(
        source=PairedFiles(root=recordings),
        out=out,
        layout=Layout(),
        audio_codec=FakeAudio,
        video_codec=FakeVideo,
        workers=0,
        splits={"train": 1.0},
        limits=MediaLimits(max_pixels=200 * 200, timeout=30.0),
        **changes,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def prepared(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "shards"
    _prepare(recordings, out, max_skipped_share=1.0)
    return out


def test_every_bad_recording_has_its_reason(prepared: Path) -> None:
    skipped = json.loads((prepared / "report.json").read_text())["skipped_recordings"]
    reasons = {name: text.split(":")[0] for name, text in skipped.items()}
    assert reasons == {name: reason for name, (_, reason) in CASES.items()}
    assert ShardReader(prepared).keys("train") == ["good"]


def test_report_counts_the_reasons(prepared: Path) -> None:
    text = (prepared / "report.md").read_text()
    assert f"1 of {len(CASES) + 1} recordings prepared" in text
    assert "| unreadable | 2 |" in text
    assert "- `mismatched`: mismatched_durations: a video" in text


def test_too_many_skipped_stop_with_a_message(prepared: Path, recordings: Path, tmp_path: Path) -> None:
    work = prepared.with_name("shards.work")
    with pytest.raises(ValueError, match=r"16 of 17 recordings cannot be used .*'truncated': 2.*_share=0\.01"):
        _prepare(recordings, tmp_path / "shards", work=work)
    assert (tmp_path / "shards" / "report.md").is_file()
    assert not (tmp_path / "shards" / "dataset.json").exists()


def test_mended_recordings_are_tried_again(prepared: Path, recordings: Path, tmp_path: Path) -> None:
    root = tmp_path / "recordings"
    shutil.copytree(recordings, root)
    shutil.copy(root / "good_speaker1.mp4", root / "empty_video_speaker1.mp4")
    _prepare(root, tmp_path / "shards", work=prepared.with_name("shards.work"), max_skipped_share=1.0)
    assert ShardReader(tmp_path / "shards").keys("train") == ["empty_video", "good"]


def test_nothing_usable_and_nothing_there(recordings: Path, tmp_path: Path) -> None:
    root = tmp_path / "one"
    root.mkdir()
    with pytest.raises(ValueError, match="has no recordings"):
        _prepare(root, tmp_path / "out")
    shutil.copy(recordings / "good_speaker1.mp4", root / "x_speaker1.mp4")
    with pytest.raises(ValueError, match="no recording is left to write"):
        _prepare(root, tmp_path / "out", max_skipped_share=1.0)


def test_decoder_that_does_not_answer_is_a_counted_skip_and_tried_again(recordings: Path, tmp_path: Path) -> None:
    root = tmp_path / "one"
    root.mkdir()
    for path in recordings.glob("good_*"):
        shutil.copy(path, root)
    settings: dict = {
        "source": PairedFiles(root=root),
        "out": tmp_path / "out",
        "layout": Layout(),
        "audio_codec": FakeAudio,
        "video_codec": FakeVideo,
        "workers": 0,
        "splits": {"train": 1.0},
    }
    with pytest.raises(ValueError, match="'timeout': 1"):
        prepare(limits=MediaLimits(timeout=0.0), **settings)
    assert prepare(**settings).splits["train"]["interactions"] == 1


def test_other_suffixes_and_sound_inside_the_video(tmp_path: Path) -> None:
    root = tmp_path / "recordings" / "s1"
    root.mkdir(parents=True)
    for who, spans in (("expert", [(1.0, 6.0)]), ("novice", [(6.5, 9.0)])):
        write_video(root / f"{who}.mp4", ramp(SECONDS), wav=tones(SECONDS, spans))
    source = PairedFiles(root=tmp_path / "recordings", suffixes=("expert", "novice"))
    (row,) = source.recordings()
    assert row.interaction == "s1"
    assert row.sides["a"].audio is None
    prepare(
        source=source,
        out=tmp_path / "out",
        layout=Layout(),
        audio_codec=FakeAudio,
        video_codec=FakeVideo,
        workers=0,
        splits={"train": 1.0},
    )
    sides = ShardReader(tmp_path / "out").interaction("s1").sides
    for side, (start, end) in (("a", (1.0, 6.0)), ("b", (6.5, 9.0))):
        spoken = np.flatnonzero(sides[side].sound) / 12.5
        assert spoken[[0, -1]] == pytest.approx([start, end], abs=0.2)
    with pytest.raises(ValueError, match="two different strings"):
        PairedFiles(root=root, suffixes=("x", "x"))


def test_names_that_differ_by_kind(tmp_path: Path) -> None:
    """NoXi's names: <session>/expert.video.mp4 beside <session>/expert.close.wav."""
    root = tmp_path / "recordings" / "001_Paris"
    root.mkdir(parents=True)
    for who, spans in (("expert", [(1.0, 6.0)]), ("novice", [(6.5, 9.0)])):
        write_video(root / f"{who}.video.mp4", ramp(SECONDS))
        soundfile.write(root / f"{who}.close.wav", tones(SECONDS, spans), RATE, "FLOAT")
        soundfile.write(root / f"{who}.far.wav", tones(SECONDS, []), RATE)
    source = PairedFiles(
        root=root.parent, suffixes=("expert", "novice"), tags={"video": ".video", "audio": ".close", "features": ""}
    )
    (row,) = source.recordings()
    assert row.interaction == "001_Paris"
    assert {side: files.audio.name for side, files in row.sides.items() if files.audio} == {
        "a": "expert.close.wav",
        "b": "novice.close.wav",
    }
    with pytest.raises(ValueError, match="tags names \\['sound'\\]"):
        PairedFiles(root=root, tags={"sound": ".close"})


def test_listener_corpus_names(tmp_path: Path) -> None:
    write_video(tmp_path / "x1.speaker.mp4", ramp(SECONDS), wav=tones(SECONDS, [(1.0, 6.0)]))
    write_video(tmp_path / "x1.listener.mp4", ramp(SECONDS), wav=tones(SECONDS, []))
    (row,) = PairedFiles(root=tmp_path, suffixes=(".speaker", ".listener")).recordings()
    assert row.interaction == "x1"
    assert sorted(row.sides) == ["a", "b"]


def test_sound_and_face_parameters_without_pictures(tmp_path: Path) -> None:
    """DualTalk: 16 kHz IEEE-float wavs and FLAME npz files that are a frame or so shorter or longer."""
    root = tmp_path / "recordings"
    root.mkdir()
    for number, spans in ((1, [(1.0, 6.0)]), (2, [(6.5, 9.0)])):
        wav = tones(SECONDS, spans, sample_rate=16_000)
        soundfile.write(root / f"d_speaker{number}.wav", wav, 16_000, "FLOAT")
        np.savez(root / f"d_speaker{number}.npz", exp=np.zeros((round(SECONDS * 25) + 1, 50), np.float32))
    with_pictures = PairedFiles(root=root)
    settings = {"layout": Layout(), "audio_codec": FakeAudio, "video_codec": FakeVideo, "workers": 0}
    settings |= {"splits": {"train": 1.0}}
    with pytest.raises(ValueError, match="no_video"):
        prepare(source=with_pictures, out=tmp_path / "refused", **settings)
    prepare(source=PairedFiles(root=root, pictures=False), out=tmp_path / "out", **settings)
    side = ShardReader(tmp_path / "out").interaction("d").sides["a"]
    assert len(side.avatar_latents) == len(side.pictures) == 0
    spoken = np.flatnonzero(side.sound) / 12.5
    assert spoken[[0, -1]] == pytest.approx([1.0, 6.0], abs=0.2)
