"""What the trunk is shown of a noisy video latent, and how its output becomes a velocity: the parametrisation of video.

B conversations, F latents, (H, W, C) latent grid; ``sigma`` broadcasts over a latent.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from avatar_lab.tensors import Anchor

MOTION = 0.25
"""Typical deviation of a unit-variance latent from how the person looks at rest (tiny_video: .19)."""
MIN_SIGMA = 1e-3


class VideoHead(Protocol):
    """One parametrisation."""

    def shown(self, noisy_BFHWC: Tensor, sigma: Tensor, anchor: Anchor) -> Tensor:
        """What patches are embedded from; finished latents come at ``sigma`` 0."""
        ...

    def velocity(self, output_BFHWC: Tensor, noisy_BFHWC: Tensor, sigma: Tensor, anchor: Anchor) -> Tensor:
        """``noise - clean``, as the trunk's output means it."""
        ...


class VelocityHead(nn.Module):
    """The trunk is shown the latent itself and predicts its velocity, as Wan does."""

    def shown(self, noisy_BFHWC: Tensor, sigma: Tensor, anchor: Anchor) -> Tensor:
        return noisy_BFHWC

    def velocity(self, output_BFHWC: Tensor, noisy_BFHWC: Tensor, sigma: Tensor, anchor: Anchor) -> Tensor:
        return output_BFHWC


class CleanHead(nn.Module):
    """The trunk is shown the latent itself and predicts the clean one.

    A latent frame has more values than the model is wide, and the noise in its velocity does not fit through; the clean
    latent, which lies on a low-dimensional manifold, does (Li and He 2025, "Back to Basics", arXiv:2511.13720).
    """

    def shown(self, noisy_BFHWC: Tensor, sigma: Tensor, anchor: Anchor) -> Tensor:
        return noisy_BFHWC

    def velocity(self, output_BFHWC: Tensor, noisy_BFHWC: Tensor, sigma: Tensor, anchor: Anchor) -> Tensor:
        return (noisy_BFHWC - output_BFHWC) / sigma.clamp(min=MIN_SIGMA)


class AnchoredHead(nn.Module):
    """The trunk is shown, and predicts, the clean latent less the anchor picture, both at unit variance.

    Who the avatar is is nearly all of a latent's variance and is known from the anchor; what moves, which is what a
    reaction is, is a twentieth. Scaled as in Karras et al. 2022 (arXiv:2206.00364, table 1: ``c_in`` and ``c_out``).
    Where the anchor was dropped, the latent itself takes the place of the difference.
    """

    def shown(self, noisy_BFHWC: Tensor, sigma: Tensor, anchor: Anchor) -> Tensor:
        rest, spread = self._at_rest(anchor, noisy_BFHWC)
        share = 1 - sigma
        return (noisy_BFHWC - share * rest) * ((share * spread).square() + sigma.square()).rsqrt()

    def velocity(self, output_BFHWC: Tensor, noisy_BFHWC: Tensor, sigma: Tensor, anchor: Anchor) -> Tensor:
        rest, spread = self._at_rest(anchor, noisy_BFHWC)
        return (noisy_BFHWC - rest - spread * output_BFHWC) / sigma.clamp(min=MIN_SIGMA)

    def _at_rest(self, anchor: Anchor, like: Tensor) -> tuple[Tensor, Tensor]:
        """The person at rest and the deviation from it, each to broadcast over latents."""
        present = anchor.present_B.to(like.dtype)[:, None, None, None, None]
        return anchor.picture_BHWC[:, None].to(like.dtype) * present, 1 - (1 - MOTION) * present
