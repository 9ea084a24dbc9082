"""The shipped configuration of published codecs, from recordings to a streaming model, with networks in miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from avatar_lab.codec.mimi import Mimi
from avatar_lab.codec.wan_vae import WanVae
from avatar_lab.config import load
from avatar_lab.construct import build
from avatar_lab.data.dataset import DyadData
from avatar_lab.data.shards import ShardReader
from avatar_lab.layout import Layout
from avatar_lab.level import Level
from avatar_lab.rollout.session import Session
from avatar_lab.stage.start import ModelSize, Setting, fresh
from avatar_lab.train import shared_objects
from data_prep import config
from data_prep.prepare import prepare
from tests.codec.tiny_networks import mimi_folder, wan_folder
from tests.data_prep.recordings import write_pair

pytestmark = pytest.mark.ci
CONFIGS = Path(__file__).parents[2] / "configs" / "data_prep"


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Keys below the codecs' nodes that put the miniatures in place of the published networks."""
    mimi, wan = mimi_folder(tmp_path_factory.mktemp("mimi")), wan_folder(tmp_path_factory.mktemp("wan"))
    return [
        f"audio_codec.source={mimi}",
        "audio_codec.num_codebooks=4",
        f"video_codec.source={wan}",
        "video_codec.subfolder=''",
        "video_codec.height=32",
        "video_codec.width=32",
    ]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    write_pair(root, "d0", seconds=20.0)
    return root


@pytest.fixture(scope="module")
def prepared(recordings: Path, overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "shards"
    run = [f"source.root={recordings}", f"out={out}", "workers=0", "splits={train: 1.0}", *overrides]
    prepare(**build(config.load(CONFIGS / "mimi_wan.yaml", run)))
    return out


@pytest.fixture(scope="module")
def codecs(overrides: list[str]) -> tuple[Mimi, WanVae]:
    """As a training run loads them."""
    chosen = [f"codec.{override}" for override in overrides]
    shared = shared_objects(load(["codec=mimi_wan", *chosen]))
    return shared["audio_codec"], shared["video_codec"]


def test_shards_hold_what_the_running_encoders_give(
    prepared: Path, recordings: Path, codecs: tuple[Mimi, WanVae]
) -> None:
    audio, video = codecs
    info = ShardReader(prepared).info
    assert info.audio_fingerprint == audio.spec.fingerprint
    assert info.video_fingerprint == video.spec.fingerprint
    assert info.silence_tokens == tuple(audio.silence_K.tolist())
    side = ShardReader(prepared).interaction("d0").sides["a"]
    wav_S, _ = soundfile.read(recordings / "d0_speaker1.wav", dtype="float32")
    tokens_BAK, _ = audio.encode(torch.from_numpy(wav_S)[None])
    np.testing.assert_array_equal(side.audio_tokens, tokens_BAK[0].numpy())
    assert side.avatar_latents.shape == (125, 4, 4, 16)
    assert len(side.pictures) == 4
    assert np.isfinite(side.avatar_latents).all()
    assert len(np.unique(side.avatar_latents)) > 100


def test_batches_fit_the_codecs_and_the_layout(prepared: Path, codecs: tuple[Mimi, WanVae]) -> None:
    audio, video = codecs
    data = DyadData(root=prepared, layout=Layout(), batch_size=2, num_blocks=10, seed=0)
    batch = data.batch(0)
    clean_BED = audio.codebook.embed(batch.audio_BEK)
    assert clean_BED.shape[-1] == audio.spec.embedding_width
    assert video.decode(batch.video_BFHWC.float()[:, :2])[0].shape == (2, 8, 32, 32, 3)


def test_a_fresh_model_streams_with_them(codecs: tuple[Mimi, WanVae]) -> None:
    """Three blocks of 320 ms: the codecs fit the default layout, and sound and pictures have its lengths."""
    audio, video = codecs
    layout, rng = Layout(), torch.Generator().manual_seed(0)
    setting = Setting(layout=layout, audio_codec=audio, video_codec=video)
    size = ModelSize(width=32, num_heads=2, num_layers=1, patch=2)
    checkpoint = fresh(size=size, setting=setting, level=Level.SEE, window_blocks=4, num_steps=2)
    frames_PHWC = torch.randint(0, 256, (3 * 8, 32, 32, 3), dtype=torch.uint8, generator=rng)
    sound_S = 0.1 * torch.randn(3 * layout.samples_per_block, generator=rng)
    session = Session(
        checkpoint=checkpoint,
        audio_codec=audio,
        video_codec=video,
        picture_HWC=frames_PHWC[0],
        voice_S=0.1 * torch.randn(3 * 24_000, generator=rng),
    )
    blocks = session.push(sound_S, frames_PHWC)
    assert len(blocks) >= 3
    for block in blocks:
        assert block.audio_S.shape == (layout.samples_per_block,)
        assert block.video_PHWC.shape == (8, 32, 32, 3)
        assert torch.isfinite(block.audio_S).all()
