"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381, table 2) up to its last bottleneck: pictures to 320 numbers.

The layers are named as in torchvision's file, so that its weights load strictly; what comes after the last bottleneck
is in the file too and is left out: 320 channels need a quarter of the frames that 1,280 need for a covariance.

    N pictures   C channels   H, W
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

SIDE = 160
"""Pixels; pictures of every size are brought to it. One of the paper's sizes: 224 takes three times as long."""
WIDTH = 320
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, WIDTH, 1, 1))
"""Expansion, channels, number of bottlenecks and stride of the first."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours."""


class Bottleneck(nn.Module):
    """Widen, filter each channel by itself, narrow without a nonlinearity; added to its input where the shape stays."""

    def __init__(self, incoming: int, outgoing: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = incoming * expansion
        widen = [_filter(incoming, hidden, kernel=1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *widen,
            _filter(hidden, hidden, kernel=3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outgoing, 1, bias=False),
            nn.BatchNorm2d(outgoing),
        )
        self.adds = incoming == outgoing and stride == 1

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW + self.conv(x_NCHW) if self.adds else self.conv(x_NCHW)


class MobileNetV2(nn.Module):
    """Pictures (N, C, H, W) in [0, 1] to features (N, 320), the mean over places."""

    mean_C11: Tensor
    deviation_C11: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_filter(3, 32, kernel=3, stride=2)]
        incoming = 32
        for expansion, outgoing, count, stride in _STAGES:
            for number in range(count):
                first = stride if number == 0 else 1
                layers.append(Bottleneck(incoming, outgoing, expansion=expansion, stride=first))
                incoming = outgoing
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean_C11", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation_C11", torch.tensor(_DEVIATION)[:, None, None], persistent=False)

    @classmethod
    def load(cls, path: Path) -> MobileNetV2:
        """With torchvision's weights, frozen; nothing but tensors is read from the file.

        Raises:
            RuntimeError: the file holds another network.
        """
        network = cls()
        state = torch.load(path, map_location="cpu", weights_only=True)
        later = (f"features.{len(network.features)}.", "classifier.")
        network.load_state_dict({name: value for name, value in state.items() if not name.startswith(later)})
        return network.eval().requires_grad_(False)

    def forward(self, pictures_NCHW: Tensor) -> Tensor:
        # antialiased, since a picture that is sampled as it is has features of its own (Parmar et al. 2022,
        # arXiv:2104.11222)
        resized_NCHW = nn.functional.interpolate(pictures_NCHW, (SIDE, SIDE), mode="bilinear", antialias=True)
        return self.features((resized_NCHW - self.mean_C11) / self.deviation_C11).mean((2, 3))


def _filter(incoming: int, outgoing: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(incoming, outgoing, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outgoing),
        nn.ReLU6(),
    )
