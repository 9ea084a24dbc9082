"""What the tiny video codec learns: to return its input, sharply and without flicker, from latents that stay readable.

Latents are normalised by the codec itself, so that noise of a given size means the same share of every channel. Noise
makes the decoder smooth around each latent, which is what a diffusion model's imperfect latents need.

    B batch   P frames   F latents   H, W, C   T face channels
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from avatar_lab.codec.tiny_video import Reconstruction
from avatar_lab.objective.losses import Losses
from avatar_lab.objective.pixel_reader import READ_COLUMNS
from avatar_lab.perception.pixel_reader import PixelReader


class TrainableVideoCodec(Protocol):
    """Part of ``TinyVideo`` that the objective uses."""

    frames_per_latent: int
    grid_size: int
    channels: int

    def __call__(self, frames_BPHWC: Tensor, noise_BFCHW: Tensor | None = None) -> Reconstruction: ...


class VideoCodecObjective:
    """Squared error, absolute error, errors of spatial and temporal differences, and what a reader sees in the result.

    Args:
        max_noise: latents get noise of a standard deviation drawn per clip from [0, max_noise].
        absolute: weight of the L1 term; the L2 term has weight 1.
        gradient: weight of the L1 error of horizontal and vertical differences (sharpness).
        temporal: weight of the squared error of differences between frames (flicker, and motion of small features).
        outlier: weight of the fourth moment of the latents, which keeps them near a Gaussian.
        hint: weight of the squared error of the codec's hint head against ``batch["face"]``; 0 where faces are unknown.
        hint_units: typical deviation of each face channel.
        readable: weight of the squared error of what ``reader`` reads in the result against ``batch["face"]``.
        reader: a pixel reader trained on uncompressed frames; stays frozen.
        pixel_noise: deviation of noise on what the reader sees, in grey levels, so that the codec cannot please it by
            patterns too faint to see.

    Terms of weight 0 are not computed: on one core they cost as much as half of the network.
    """

    _TERMS: ClassVar[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
        "absolute": lambda error, latents: _mean_abs(error),
        "gradient": lambda error, latents: _mean_abs(error.diff(dim=2)) + _mean_abs(error.diff(dim=3)),
        "temporal": lambda error, latents: error.diff(dim=1).square().flatten(1).mean(1),
        "outlier": lambda error, latents: latents.float().pow(4).flatten(1).mean(1),
    }

    def __init__(
        self,
        *,
        max_noise: float,
        absolute: float,
        gradient: float,
        temporal: float,
        outlier: float,
        hint: float,
        hint_units: Sequence[float] | None = None,
        readable: float = 0.0,
        reader: PixelReader | None = None,
        pixel_noise: float = 8.0,
    ) -> None:
        if bool(hint) != bool(hint_units):
            raise ValueError(f"hint {hint} and hint_units {hint_units} belong together: give both or neither")
        if bool(readable) != (reader is not None):
            raise ValueError(f"readable {readable} needs a reader and a reader needs it: give both or neither")
        self.max_noise, self.pixel_noise = max_noise, pixel_noise
        self.reader = None if reader is None else reader.eval().requires_grad_(False)
        weights = {"absolute": absolute, "gradient": gradient, "temporal": temporal, "outlier": outlier}
        weights |= {"hint": hint, "readable": readable}
        self.weights = {"squared": 1.0} | {name: weight for name, weight in weights.items() if weight}
        self.hint_units = None if hint_units is None else tuple(hint_units)

    def __call__(self, net: TrainableVideoCodec, batch: dict[str, Tensor], rng: torch.Generator) -> Losses:
        frames_BPHWC = batch["frames"]
        batch_size, device = len(frames_BPHWC), frames_BPHWC.device
        num_latents = frames_BPHWC.shape[1] // net.frames_per_latent
        shape = (batch_size, num_latents, net.channels, net.grid_size, net.grid_size)
        noise = torch.randn(shape, generator=rng) * self.max_noise
        noise *= torch.rand((batch_size, 1, 1, 1, 1), generator=rng)
        output = net(frames_BPHWC, noise.to(device))
        error = output.frames_BPHWC.float() - (frames_BPHWC.float() / 127.5 - 1)
        terms = {"squared": error.square().flatten(1).mean(1)}
        if self.hint_units is not None:
            terms["hint"] = self._hint_error(output.hints_BPT, batch["face"])
        if self.reader is not None:
            terms["readable"] = self._reading_error(self.reader, output.frames_BPHWC, batch["face"], rng)
        for name in [name for name in self.weights if name not in terms]:
            terms[name] = self._TERMS[name](error, output.latents_BFCHW)
        # peak-to-peak is 2 in [-1, 1]
        psnr = -10 * (terms["squared"].detach() / 4).log10().mean()
        return Losses(terms=terms, weights=self.weights, logs={"psnr": psnr})

    def _reading_error(
        self, reader: PixelReader, frames_BPHWC: Tensor, face_BPT: Tensor, rng: torch.Generator
    ) -> Tensor:
        reader = reader.to(frames_BPHWC.device)
        noise = torch.randn(frames_BPHWC.shape, generator=rng).to(frames_BPHWC.device)
        seen_BPHWC = (frames_BPHWC.float() + 1) * 127.5 + self.pixel_noise * noise
        read_BPR = reader(seen_BPHWC.flatten(0, 1)).float().unflatten(0, face_BPT.shape[:2])
        return (read_BPR - face_BPT[..., READ_COLUMNS] / reader.unit_R).square().flatten(1).mean(1)

    def _hint_error(self, hints_BPT: Tensor | None, face_BPT: Tensor) -> Tensor:
        units_T = face_BPT.new_tensor(self.hint_units)
        if hints_BPT is None or hints_BPT.shape[-1] != len(units_T) or face_BPT.shape[-1] != len(units_T):
            raise ValueError(
                f"{len(units_T)} hint_units for {face_BPT.shape[-1]} face channels: set the codec's hints and the "
                "objective's hint_units to that number, or hint to 0"
            )
        return (hints_BPT.float() - face_BPT / units_T).square().flatten(1).mean(1)


def _mean_abs(value: Tensor) -> Tensor:
    return value.abs().flatten(1).mean(1)
