"""Noise levels per modality from one shared coordinate ``u``: ``sigma_m = warp_m(u)``.

Steps are listed in ``u``. The audio warp is fitted so that the token cross-entropy falls linearly in ``u`` (the
information-uniform time of CDCD, Dieleman et al. 2022, section 5), then frozen into the checkpoint; the video warp is
the shift of Esser et al. 2024 (arXiv:2403.03206, eq. 23).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_KNOTS = 65
UNIFORM_SHARE = 0.25
"""Share of ``u`` spread evenly over noise levels, whatever the loss says."""
FORGETTING = 0.98
"""Per observed batch: statistics are of the last fifty or so, not of an untrained network."""


class Warp(nn.Module):
    """Monotone piecewise-linear map of [0, 1] onto itself: ``NUM_KNOTS`` noise levels at equal steps of ``u``."""

    sigma_knots: Tensor

    def __init__(self, *, shift: float = 1.0) -> None:
        super().__init__()
        u = torch.linspace(0, 1, NUM_KNOTS)
        self.register_buffer("sigma_knots", shift * u / (1 + (shift - 1) * u))

    def forward(self, u: Tensor) -> Tensor:
        """Noise level at ``u``, any shape; exact at 0 and 1."""
        position = u.clamp(0, 1) * (NUM_KNOTS - 1)
        left = position.floor().clamp(max=NUM_KNOTS - 2).long()
        weight = (position - left).to(self.sigma_knots.dtype)
        return torch.lerp(self.sigma_knots[left], self.sigma_knots[left + 1], weight)

    @torch.no_grad()
    def fit(self, sigma_N: Tensor, loss_N: Tensor) -> None:
        """Make the expected loss linear in ``u``: ``u(sigma)`` is the normalised, monotone loss curve.

        sigma_N  increasing noise levels at which the loss was measured; loss_N  the mean loss there

        Raises:
            ValueError: the loss does not rise with the noise level, so there is nothing to fit.
        """
        rising_N = torch.cummax(loss_N.double(), 0).values
        span = rising_N[-1] - rising_N[0]
        if not span > 1e-3:
            raise ValueError("the audio loss does not rise with the noise level: train longer before fitting the warp")
        u_N = (rising_N - rising_N[0]) / span
        # A floor under the slope keeps the map invertible where the curve is flat, and every noise level reachable.
        u_N = (1 - UNIFORM_SHARE) * u_N + UNIFORM_SHARE * sigma_N.double()
        ones = torch.ones(1, dtype=torch.double)
        u_N, sigma_N = torch.cat([0 * ones, u_N, ones]), torch.cat([0 * ones, sigma_N.double(), ones])
        target = torch.linspace(0, 1, NUM_KNOTS, dtype=torch.double)
        right = torch.searchsorted(u_N, target).clamp(1, len(u_N) - 1)
        run = (u_N[right] - u_N[right - 1]).clamp(min=1e-9)
        weight = ((target - u_N[right - 1]) / run).clamp(0, 1)
        self.sigma_knots.copy_(torch.lerp(sigma_N[right - 1], sigma_N[right], weight))
        self.sigma_knots[0], self.sigma_knots[-1] = 0.0, 1.0


class Warps(nn.Module):
    """The warps of both modalities, with the loss statistics from which the audio warp is fitted."""

    loss_sum: Tensor
    loss_count: Tensor

    def __init__(self, *, audio: Warp, video: Warp, num_bins: int = 16) -> None:
        super().__init__()
        self.audio, self.video = audio, video
        self.register_buffer("loss_sum", torch.zeros(num_bins))
        self.register_buffer("loss_count", torch.zeros(num_bins))

    @torch.no_grad()
    def observe(self, sigma: Tensor, loss: Tensor) -> None:
        """Add audio losses, measured at noise levels ``sigma`` of the same shape, to the statistics.

        Losses that are not finite are left out: the training loop skips their step.
        """
        finite = loss.isfinite()
        sigma, loss = sigma[finite], loss[finite]
        self.loss_sum *= FORGETTING
        self.loss_count *= FORGETTING
        num_bins = len(self.loss_sum)
        bins = (sigma.flatten() * num_bins).long().clamp(max=num_bins - 1)
        self.loss_sum.index_add_(0, bins, loss.flatten().to(self.loss_sum.dtype))
        self.loss_count.index_add_(0, bins, torch.ones_like(loss.flatten(), dtype=self.loss_sum.dtype))

    def fit_audio(self) -> None:
        """Fit the audio warp to what was observed, smoothed over neighbouring bins (binomial weights)."""
        centres = (torch.arange(len(self.loss_sum), dtype=torch.double) + 0.5) / len(self.loss_sum)
        kernel = torch.tensor([1.0, 2.0, 1.0], dtype=torch.double).reshape(1, 1, 3)

        def smooth(x: Tensor) -> Tensor:
            padded = F.pad(x.double().cpu()[None, None], (1, 1), mode="replicate")
            return F.conv1d(padded, kernel)[0, 0]

        total, count = smooth(self.loss_sum), smooth(self.loss_count)
        seen = count > 0
        self.audio.fit(centres[seen], (total / count.clamp(min=1e-12))[seen])
