"""The causal video autoencoder of Wan 2.1 (arXiv:2503.20314): four frames and 8x8 pixels to one cell of 16 channels.

Wraps ``diffusers.AutoencoderKLWan``. Its convolutions over time are causal and carry their past in a feature cache, one
entry per convolution, which is the streaming state here.

**The first frame.** Wan counts ``1 + 4n`` frames: the first one is a latent of its own, the next ones come in fours.
The project counts whole latents of four frames. So a cold encoder first takes a copy of the first frame and throws the
lone frame's latent away; every latent that is kept then stands for four frames, and all come from a running encoder.
Offline this is ``AutoencoderKLWan.encode`` of ``[first, *frames]`` without the first latent. A cold decoder likewise
takes the first latent as the lone one and throws its single frame away. So a cold start knows one still frame of the
past; before it the network pads with zeros. It agrees with a running encoder for certain after ``warm_latents``, the
temporal receptive field (28 latents in the published network).

The reference picture is the lone frame: the one latent that Wan gives a picture.

    B batch   P frames   F latents   H, W, C height, width, channels
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from avatar_lab.codec.planned import FINGERPRINT, PlannedVideo
from avatar_lab.codec.pretrained import PretrainedFolder, library
from avatar_lab.codec.protocol import State, VideoSpec, refuse_partial_latents

OLDEST_DIFFUSERS = (0, 42)
_COLOURS = 3
_EDGE = 8
"""Pixels along the side of one cell of the published network."""


class WanVae:
    """Implements :class:`avatar_lab.codec.protocol.VideoCodec`.

    Computes in single precision (in half precision Wan's decoder shows artefacts) on the device of its network, and
    returns results on the device of its input. Latents are the means of the posterior, normalised by the network's own
    ``latents_mean`` and ``latents_std``.

    Args:
        network: a ``diffusers.AutoencoderKLWan`` in evaluation mode.
        height, width: of the frames, multiples of 8.
        fingerprint: see :class:`VideoSpec`.

    Raises:
        ValueError: the size does not fit, or the network is one that folds pixels into channels first (Wan 2.2).
    """

    def __init__(self, network: Any, *, height: int, width: int, fingerprint: str) -> None:
        config = network.config
        if config.patch_size is not None or config.in_channels != _COLOURS or config.out_channels != _COLOURS:
            raise ValueError("this autoencoder works on patches of pixels, as Wan 2.2's does: give Wan 2.1's")
        factor = 2 ** (len(config.dim_mult) - 1)
        if height % factor or width % factor or min(height, width) < factor:
            raise ValueError(f"frames of {height}x{width} pixels: height and width must be multiples of {factor}")
        if not len(config.latents_mean) == len(config.latents_std) == config.z_dim:
            raise ValueError(f"latents_mean and latents_std must give one value for each of {config.z_dim} channels")
        self._network = network
        self._device = next(network.parameters()).device
        self._mean_C = torch.tensor(config.latents_mean, device=self._device)
        self._std_C = torch.tensor(config.latents_std, device=self._device)
        frames_per_latent = 2 ** sum(config.temperal_downsample)
        self.spec = VideoSpec(
            name="wan_vae",
            frames_per_latent=frames_per_latent,
            frame_height=height,
            frame_width=width,
            grid_height=height // factor,
            grid_width=width // factor,
            channels=config.z_dim,
            warm_latents=_warm_latents(network.encoder, frames_per_latent),
            fingerprint=fingerprint,
        )

    @classmethod
    def load(
        cls,
        *,
        source: Path | str,
        height: int,
        width: int,
        subfolder: str = "",
        revision: str | None = None,
        device: str = "cpu",
    ) -> Self:
        """The codec in a folder or in the local hub cache.

        Args:
            source: folder with ``config.json`` and ``diffusion_pytorch_model.safetensors``, or a hub id such as
                ``Wan-AI/Wan2.1-T2V-1.3B-Diffusers`` (with ``subfolder="vae"``).
            height, width: see the class.
            subfolder: part of ``source`` in which the autoencoder lies.
            revision: branch, tag or commit of the hub repository.
            device: where the network computes.

        Raises:
            ValueError: diffusers is missing or too old, or there is no such codec; see also the class.
        """
        diffusers = library("diffusers", at_least=OLDEST_DIFFUSERS)
        folder = PretrainedFolder.find(source, stem="diffusion_pytorch_model", subfolder=subfolder, revision=revision)
        network = folder.load(
            diffusers.AutoencoderKLWan.from_pretrained, torch_dtype=torch.float32, low_cpu_mem_usage=False
        ).to(device)
        return cls(network, height=height, width=width, fingerprint=folder.fingerprint(height=height, width=width))

    @staticmethod
    def planned(*, height: int, width: int) -> PlannedVideo:
        """What is known of the published Wan 2.1 autoencoder without its weights.

        Raises:
            ValueError: the size does not fit.
        """
        if min(height, width) < _EDGE or height % _EDGE or width % _EDGE:
            raise ValueError(f"frames of {height}x{width} pixels: height and width must be multiples of {_EDGE}")
        return PlannedVideo(
            VideoSpec(
                name="wan_vae",
                frames_per_latent=4,
                frame_height=height,
                frame_width=width,
                grid_height=height // _EDGE,
                grid_width=width // _EDGE,
                channels=16,
                warm_latents=28,
                fingerprint=FINGERPRINT,
            )
        )

    # VideoCodec ------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        """uint8 frames to latents (B, F, H, W, C); see ``VideoCodec.encode`` and the head of this file."""
        self._check_frames(frames_BPHWC)
        per = self.spec.frames_per_latent
        refuse_partial_latents(frames_BPHWC, per)
        if state is None:
            _, state = self._analyse(frames_BPHWC[:, :1], self._cold(self._network.encoder))
        latents = []
        for piece_BPHWC in frames_BPHWC.split(per, dim=1):
            latent_B1HWC, state = self._analyse(piece_BPHWC, state)
            latents.append(latent_B1HWC)
        return torch.cat(latents, dim=1), state

    @torch.no_grad()
    def decode(self, latents_BFHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Latents to uint8 frames (B, P, H, W, 3); see ``VideoCodec.decode`` and the head of this file."""
        expected = (self.spec.grid_height, self.spec.grid_width, self.spec.channels)
        if latents_BFHWC.ndim != 5 or latents_BFHWC.shape[2:] != expected or not latents_BFHWC.shape[1]:
            raise ValueError(f"latents have shape {tuple(latents_BFHWC.shape)}; expected (batch, latents, *{expected})")
        if state is None:
            _, state = self._synthesise(latents_BFHWC[:, :1], self._cold(self._network.decoder), lone=True)
        frames = []
        for latent_B1HWC in latents_BFHWC.split(1, dim=1):
            piece_BPHWC, state = self._synthesise(latent_B1HWC, state, lone=False)
            frames.append(piece_BPHWC)
        return torch.cat(frames, dim=1), state

    @torch.no_grad()
    def encode_picture(self, picture_BHWC: Tensor) -> Tensor:
        """uint8 pictures to one latent (B, H, W, C): the latent that Wan gives a lone frame."""
        self._check_frames(picture_BHWC[:, None])
        return self._analyse(picture_BHWC[:, None], self._cold(self._network.encoder))[0][:, 0]

    # One latent ------------------------------------------------------------------------------------------------------
    def _analyse(self, frames_BPHWC: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """Frames of one latent, or a lone first one, to the latent (B, 1, H, W, C)."""
        cache = list(state)  # the network replaces entries, it does not write into them
        with torch.autocast(self._device.type, enabled=False):
            scaled_BCPHW = frames_BPHWC.to(self._device, torch.float32).permute(0, 4, 1, 2, 3) / 127.5 - 1
            moments = self._network.quant_conv(self._network.encoder(scaled_BCPHW, feat_cache=cache, feat_idx=[0]))
            mean_BFHWC = moments[:, : self.spec.channels].permute(0, 2, 3, 4, 1)
            latent_BFHWC = (mean_BFHWC - self._mean_C) / self._std_C
        return latent_BFHWC.contiguous().to(frames_BPHWC.device), tuple(cache)

    def _synthesise(
        self, latent_B1HWC: Tensor, state: tuple[Any, ...], *, lone: bool
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """One latent to its uint8 frames; a lone first one has a single frame."""
        cache = list(state)
        with torch.autocast(self._device.type, enabled=False):
            raw_BFHWC = latent_B1HWC.to(self._device, torch.float32) * self._std_C + self._mean_C
            entered = self._network.post_quant_conv(raw_BFHWC.permute(0, 4, 1, 2, 3))
            scaled = self._network.decoder(entered, feat_cache=cache, feat_idx=[0], first_chunk=lone)
            frames_BPHWC = scaled.permute(0, 2, 3, 4, 1).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
        return frames_BPHWC.contiguous().to(latent_B1HWC.device), tuple(cache)

    def _cold(self, network: nn.Module) -> tuple[None, ...]:
        return (None,) * len(_time_convolutions(network))

    def _check_frames(self, frames_BPHWC: Tensor) -> None:
        height, width = self.spec.frame_height, self.spec.frame_width
        if frames_BPHWC.ndim != 5 or frames_BPHWC.shape[2:] != (height, width, _COLOURS):
            raise ValueError(
                f"frames have shape {tuple(frames_BPHWC.shape)}; expected (batch, frames, {height}, {width}, 3)"
            )
        if frames_BPHWC.dtype != torch.uint8:
            raise ValueError(f"frames are {frames_BPHWC.dtype}; expected RGB in uint8, 0 to 255")


def _time_convolutions(network: nn.Module) -> list[nn.Conv3d]:
    """Convolutions in the order in which they are passed (shortcuts of kernel 1 reach nowhere)."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv3d)]


def _warm_latents(encoder: nn.Module, frames_per_latent: int) -> int:
    """Latents after which nothing from before a cold start lies in the temporal receptive field."""
    past = 0  # frames before the newest one of a latent
    for layer in reversed(_time_convolutions(encoder)):
        past = past * layer.stride[0] + layer.kernel_size[0] - 1
    return math.ceil((past + 1) / frames_per_latent) - 1
