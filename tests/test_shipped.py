"""The checkpoints in the package: they are there, small, nested, speak the shipped codecs, and stream."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.level import Level
from avatar_lab.shipped import FOLDER, NAMES, find_checkpoint, open_checkpoint

MAX_BYTES = 8_000_000


@pytest.fixture(scope="module", params=NAMES)
def shipped(request: pytest.FixtureRequest) -> tuple[str, Checkpoint]:
    return request.param, open_checkpoint(f"shipped:{request.param}")


def test_each_speaks_the_shipped_codecs_and_says_where_it_comes_from(shipped: tuple[str, Checkpoint]) -> None:
    name, checkpoint = shipped
    card = checkpoint.card
    assert card.audio_codec == TinyAudio.load().spec.fingerprint
    assert card.video_codec == TinyVideo.load().spec.fingerprint
    assert card.stage == ("teacher" if name == "teacher" else "see")
    stages = {ancestor.partition(":")[0] for ancestor in card.lineage}
    distilled = {"teacher", "autoregressive", "initialise", "self_forcing", "preference"}
    assert stages >= (set() if name == "teacher" else distilled)
    path, _ = find_checkpoint(f"shipped:{name}")
    assert path.stat().st_size <= MAX_BYTES
    text = path.with_suffix(".md").read_text()
    assert card.commit in text
    assert all(ancestor in text for ancestor in card.lineage)


def test_lower_levels_are_views_of_the_third() -> None:
    levels = {level: open_checkpoint(f"shipped:level{int(level)}") for level in Level}
    whole = levels[Level.SEE].model.state_dict()
    for level, checkpoint in levels.items():
        assert checkpoint.level is level
        for name, value in checkpoint.model.state_dict().items():
            assert torch.equal(value, whole[name])


def test_a_name_that_is_not_shipped_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"no checkpoint 'level4' is shipped; there are shipped:level1, .*shipped:teacher"
    ):
        open_checkpoint("shipped:level4")
    assert find_checkpoint("some/level3.safetensors") == (Path("some/level3.safetensors"), None)


def test_nothing_else_lies_beside_them() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == [
        *("level3.md", "level3.safetensors", "teacher.md", "teacher.safetensors")
    ]


@pytest.mark.ci
def test_a_newcomer_streams_at_once(tmp_path: Path) -> None:
    """The two commands of ``configs/stream.yaml``."""
    entry = [sys.executable, "-m", "avatar_lab.cli"]
    made = ["render", "--out", "demo", "--dialogues", "1", "--held-out", "1", "--seconds", "12"]
    subprocess.run([*entry, *made], cwd=tmp_path, check=True, timeout=300)
    streamed = subprocess.run(
        [*entry, "stream", "recording=demo/h00000000", "seconds=8"],
        cwd=tmp_path,
        check=True,
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert (tmp_path / "stream.mp4").stat().st_size > 10_000
    assert "26 blocks" in streamed.stdout  # of 320 ms, with the one that ends the conversation
