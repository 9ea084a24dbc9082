"""The path of both modalities, ``noisy = (1 - sigma) clean + sigma noise``, and the clean estimate of a prediction."""

from __future__ import annotations

from torch import Tensor

from avatar_lab.codebook import Codebook
from avatar_lab.tensors import AVState, NoiseLevels, Prediction


def expand(level: Tensor, like: Tensor) -> Tensor:
    """Trailing axes for a (B, tokens) noise level to broadcast over ``like``."""
    return level.reshape(level.shape + (1,) * (like.ndim - level.ndim))


def mix(clean: AVState, noise: AVState, levels: NoiseLevels) -> AVState:
    """Point of the path at the given noise levels (rectified flow, Liu et al. 2022, arXiv:2209.03003)."""

    def path(x: Tensor, e: Tensor, level: Tensor) -> Tensor:
        sigma = expand(level, x)
        return (1 - sigma) * x + sigma * e

    return AVState(
        audio_BAD=path(clean.audio_BAD, noise.audio_BAD, levels.audio_BA),
        video_BFHWC=path(clean.video_BFHWC, noise.video_BFHWC, levels.video_BF),
    )


def clean_estimate(codebook: Codebook, noisy: AVState, levels: NoiseLevels, prediction: Prediction) -> AVState:
    """Posterior mean of both modalities: expected embedding of the logits, and ``noisy - sigma * velocity``."""
    sigma = expand(levels.video_BF, noisy.video_BFHWC)
    return AVState(
        audio_BAD=codebook.expected(prediction.logits_BAKV),
        video_BFHWC=noisy.video_BFHWC - sigma * prediction.velocity_BFHWC,
    )


MIN_LOSS_SIGMA = 0.2


def velocity_error(clean_hat: Tensor, clean: Tensor, level: Tensor) -> Tensor:
    """Squared velocity error per token, (B, tokens), from clean estimates (B, tokens, ...): ``|error / sigma|^2``.

    The weight is capped below ``MIN_LOSS_SIGMA``: there a clean-predicting head would otherwise spend its whole loss on
    what its width cannot carry.
    """
    sigma = expand(level.clamp(min=MIN_LOSS_SIGMA), clean)
    return ((clean_hat - clean) / sigma).square().flatten(2).mean(2)
