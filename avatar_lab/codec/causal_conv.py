"""Causal convolution over time that carries its past from call to call.

B  batch   T  steps   I, O  channels in, out
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class CausalConv(nn.Module):
    """Convolution over the present and the past ``(kernel - 1) * dilation`` steps, which the caller keeps."""

    def __init__(self, channels_in: int, channels_out: int, *, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.dilation = dilation
        self.past = (kernel - 1) * dilation
        self.conv = nn.Conv1d(channels_in, channels_out, kernel, dilation=dilation)

    def start(self, batch: int) -> Tensor:
        """A past of zeros."""
        return self.conv.weight.new_zeros(batch, self.past, self.conv.in_channels)

    def forward(self, x_BTI: Tensor, past_BTI: Tensor) -> tuple[Tensor, Tensor]:
        """Output (B, T, O) and the new past."""
        x_BTI = torch.cat([past_BTI, x_BTI], dim=1)
        return self.conv(x_BTI.mT).mT, x_BTI[:, x_BTI.shape[1] - self.past :]


class CausalStack(nn.Module):
    """Linear in, residual causal convolutions, linear out; ``reach`` steps of past matter."""

    def __init__(
        self, channels_in: int, channels_out: int, *, width: int, kernel: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(channels_in, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in dilations)
        self.convs = nn.ModuleList(CausalConv(width, width, kernel=kernel, dilation=step) for step in dilations)
        self.leave = nn.Linear(width, channels_out)
        self.reach = sum((kernel - 1) * step for step in dilations)

    def start(self, batch: int) -> tuple[Tensor, ...]:
        """A past of zeros for every convolution."""
        return tuple(conv.start(batch) for conv in self.convs if isinstance(conv, CausalConv))

    def forward(self, x_BTI: Tensor, past: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        x_BTI = functional.gelu(self.enter(x_BTI))
        now = []
        for norm, conv, before in zip(self.norms, self.convs, past, strict=True):
            change, after = conv(norm(x_BTI), before)
            x_BTI = x_BTI + functional.gelu(change)
            now.append(after)
        return self.leave(x_BTI), tuple(now)
