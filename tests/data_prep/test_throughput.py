"""The world's recordings through the embedded codecs: faster than the bar, and into batches that fit the models."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.data.dataset import DyadData
from avatar_lab.layout import Layout
from avatar_lab.world.record import write_dataset
from data_prep.prepare import prepare
from data_prep.sources.paired_files import PairedFiles


def _processor_seconds() -> float:
    """Time of this process and its finished children, which does not depend on who else uses the machine."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@pytest.mark.ci
def test_world_is_prepared_ten_times_faster_than_it_plays_on_two_cores(tmp_path: Path) -> None:
    layout = Layout()
    write_dataset(tmp_path / "world", num_dialogues=2, seconds=60.0, seed=5, held_out=False, workers=1, layout=layout)
    torch.set_num_threads(1)
    before = _processor_seconds()
    info = prepare(
        source=PairedFiles(root=tmp_path / "world", name="world", license="generated", non_commercial=False),
        out=tmp_path / "shards",
        layout=layout,
        audio_codec=TinyAudio.load,
        video_codec=TinyVideo.load,
        workers=0,
        splits={"train": 1.0},
    )
    media_seconds = info.splits["train"]["seconds"]
    assert media_seconds > 100
    assert media_seconds / (_processor_seconds() - before) > 5  # per core
    info.check_codecs(
        audio_fingerprint=TinyAudio.load().spec.fingerprint, video_fingerprint=TinyVideo.load().spec.fingerprint
    )
    batch = DyadData(root=tmp_path / "shards", layout=layout, batch_size=4, num_blocks=20, seed=0).batch(0)
    assert batch.user_video_BGU.shape[-1] == info.user_features
    assert batch.video_BFHWC.std() == pytest.approx(1.0, abs=0.5)
