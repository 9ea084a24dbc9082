"""Stereo sound files: one person per channel, no pictures anywhere downstream."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avatar_lab.data.dataset import DyadData
from avatar_lab.data.shards import ShardReader
from avatar_lab.layout import Layout
from data_prep.manifest import SkipReason
from data_prep.prepare import prepare
from data_prep.sources.stereo_manifest import StereoManifest, read_alignments
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import tones

LEFT, RIGHT = [(0.5, 4.0), (11.0, 14.0)], [(5.0, 10.0)]


def write_manifest(root: Path, *paths: str) -> None:
    (root / "m.jsonl").write_text("".join(json.dumps({"path": path, "duration": 16.0}) + "\n" for path in paths))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stereo")
    (root / "calls").mkdir()
    stereo = np.stack([tones(16.0, spans, sample_rate=16_000) for spans in (LEFT, RIGHT)], axis=1)
    soundfile.write(root / "calls" / "one.wav", stereo, 16_000, "FLOAT")
    write_manifest(root, "calls/one.wav")
    out = tmp_path_factory.mktemp("out") / "shards"
    prepare(
        source=StereoManifest(root=root, manifest="m.jsonl"),
        out=out,
        layout=Layout(),
        audio_codec=FakeAudio,
        video_codec=FakeVideo,
        splits={"train": 1.0},
        workers=0,
    )
    return out


@pytest.mark.parametrize(("side", "spans"), [("a", LEFT), ("b", RIGHT)])
def test_each_channel_becomes_a_person(prepared: Path, side: str, spans: list[tuple[float, float]]) -> None:
    arrays = ShardReader(prepared).interaction("calls-one").sides[side]
    heard = arrays.audio_tokens[:, 0] > 15
    spoken = np.zeros(len(heard), bool)
    for start, end in spans:
        spoken[round(start * 12.5) : round(end * 12.5)] = True
    assert (heard == spoken).mean() > 0.95
    assert arrays.avatar_latents.shape[0] == arrays.user_features.shape[0] == len(arrays.pictures) == 0


def test_batches_have_no_picture_that_counts(prepared: Path) -> None:
    data = DyadData(root=prepared, layout=Layout(), batch_size=2, num_blocks=10, seed=0)
    batch = data.batch(0)
    assert batch.video_BFHWC.shape[:2] == (2, 20)
    assert not batch.video_valid_BF.any()
    assert not batch.user_video_valid_BG.any()
    assert not batch.anchor.present_B.any()
    assert batch.audio_valid_BE.any()


def test_paths_stay_below_the_root(tmp_path: Path) -> None:
    write_manifest(tmp_path, "../other.wav", "pipe://rm", "here.wav", "here.wav")
    source = StereoManifest(root=tmp_path, manifest="m.jsonl")
    rows = {row.interaction: row for row in source.recordings()}
    for outside in ("../other", "pipe:/rm"):
        assert rows[outside].problem is not None
        assert rows[outside].problem[0] is SkipReason.UNREADABLE
    assert rows["here"].problem is None
    assert source.findings["line repeated"] == 1


@pytest.mark.parametrize("line", ["not json", "{}", '{"path": 3}', "[1]"])
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "m.jsonl").write_text('{"path": "x.wav"}\n' + line + "\n")
    with pytest.raises(ValueError, match="line 2"):
        list(StereoManifest(root=tmp_path, manifest="m.jsonl").recordings())


def test_alignments_name_words_of_one_speaker() -> None:
    raw = json.dumps(
        {"alignments": [["hi", [0.5, 0.7], "SPEAKER_MAIN"], ["um", None, "SPEAKER_MAIN"], ["yo", [1, 2], "SPEAKER_00"]]}
    ).encode()
    assert read_alignments(raw, speakers=("SPEAKER_MAIN",)).words == [(0.5, 0.7)]
    assert read_alignments(raw, speakers=("SPEAKER_01",)).words is None, "not said, which is not the same as silent"
    with pytest.raises(ValueError, match="alignments"):
        read_alignments(b"{}", speakers=())
