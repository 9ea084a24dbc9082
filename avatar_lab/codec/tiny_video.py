"""The embedded video codec: 64x64 frames, four per latent, on a 4x4 grid of channels; causal with one latent of past.

Latent f is a function of the frames of latents f and f - 1; its frames are decoded from latents f and f - 1. Both
directions carry exactly that one predecessor as streaming state, so streaming and offline are the same call. A cold
encoder behaves as if the first frame had stood still, a cold decoder as if the first latent had.

    B batch   P frames   F latents   N latents with batch folded in   H, W, C height, width, channels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avatar_lab.codec.protocol import State, VideoSpec, refuse_partial_latents
from avatar_lab.codec.video_network import FrameDecoder, FrameEncoder
from avatar_lab.weight_file import ShippedNetwork

_COLOURS = 3
_VARIANCE_FLOOR = 1e-5


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """What ``TinyVideo.forward`` returns for training."""

    frames_BPHWC: Tensor
    """In [-1, 1], not clipped."""
    latents_BFCHW: Tensor
    """Normalised, before noise."""
    hints_BPT: Tensor | None
    """Facts per frame as named by the hint head, if there is one."""


class TinyVideo(ShippedNetwork):
    """Causal convolutional autoencoder; implements ``VideoCodec``.

    Args:
        frame_size: pixels per side of a frame.
        frames_per_latent: frames folded into one latent.
        grid_size: side of the latent grid; ``frame_size / grid_size`` must be what patches and halvings give.
        channels: channels of a latent.
        encoder_patch, encoder_widths, places, summary: see ``FrameEncoder``.
        hints: known facts per frame that a linear head names from the encoder's summary, in training only; they help
            it to notice small things early. 0 for none.
        decoder_patch, decoder_widths, decoder_blocks: see ``FrameDecoder``.
        momentum: share of the newest batch in the running channel statistics while training.
    """

    file = "tiny_video.safetensors"
    latent_mean_C: Tensor
    latent_std_C: Tensor

    def __init__(
        self,
        *,
        frame_size: int = 64,
        frames_per_latent: int = 4,
        grid_size: int = 4,
        channels: int = 24,
        encoder_patch: int = 4,
        encoder_widths: Sequence[int] = (48, 96, 112),
        places: int = 12,
        summary: int = 96,
        hints: int = 11,
        decoder_patch: int = 2,
        decoder_widths: Sequence[int] = (128, 112, 72, 48),
        decoder_blocks: Sequence[int] = (1, 1, 2, 1),
        momentum: float = 0.02,
    ) -> None:
        super().__init__()
        down = encoder_patch * 2 ** (len(encoder_widths) - 1)
        up = decoder_patch * 2 ** (len(decoder_widths) - 1)
        if frame_size != grid_size * down or frame_size != grid_size * up:
            raise ValueError(
                f"frame_size {frame_size} must be grid_size {grid_size} times the encoder's factor {down} and the "
                f"decoder's factor {up}: change the patches or the number of widths"
            )
        self.config = {
            "frame_size": frame_size,
            "frames_per_latent": frames_per_latent,
            "grid_size": grid_size,
            "channels": channels,
            "encoder_patch": encoder_patch,
            "encoder_widths": list(encoder_widths),
            "places": places,
            "summary": summary,
            "hints": hints,
            "decoder_patch": decoder_patch,
            "decoder_widths": list(decoder_widths),
            "decoder_blocks": list(decoder_blocks),
            "momentum": momentum,
        }
        self.frame_size, self.frames_per_latent = frame_size, frames_per_latent
        self.grid_size, self.channels, self.momentum = grid_size, channels, momentum
        colours = _COLOURS * frames_per_latent
        self.encoder = FrameEncoder(
            in_channels=colours,
            patch=encoder_patch,
            widths=encoder_widths,
            grid=grid_size,
            places=places,
            summary=summary,
        )
        self.hint = nn.Linear(summary, frames_per_latent * hints) if hints else None
        self.to_latent = nn.Conv2d(2 * encoder_widths[-1], channels, 3, padding=1)
        self.decoder = FrameDecoder(
            in_channels=2 * channels,
            frames=frames_per_latent,
            patch=decoder_patch,
            widths=decoder_widths,
            blocks=decoder_blocks,
            grid=grid_size,
        )
        self.register_buffer("latent_mean_C", torch.zeros(channels))
        self.register_buffer("latent_std_C", torch.ones(channels))
        self.to(memory_format=torch.channels_last)  # the fast layout of small convolutions on CPUs
        self._spec: tuple[tuple[int, ...], VideoSpec] | None = None

    # VideoCodec ------------------------------------------------------------------------------------------------------
    @property
    def spec(self) -> VideoSpec:
        """Facts about the codec; the fingerprint follows the weights while they train."""
        versions = tuple(value._version for value in self.state_dict(keep_vars=True).values())
        if self._spec is None or self._spec[0] != versions:
            spec = VideoSpec(
                name="tiny_video",
                frames_per_latent=self.frames_per_latent,
                frame_height=self.frame_size,
                frame_width=self.frame_size,
                grid_height=self.grid_size,
                grid_width=self.grid_size,
                channels=self.channels,
                warm_latents=1,
                fingerprint=self.fingerprint(),
            )
            self._spec = (versions, spec)
        return self._spec[1]

    @torch.no_grad()
    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        """uint8 frames to latents (B, F, H, W, C); see ``VideoCodec.encode``."""
        raw_BFCHW, state = self._analyse(frames_BPHWC, state)
        return self._normalise(raw_BFCHW).permute(0, 1, 3, 4, 2).contiguous(), state

    @torch.no_grad()
    def decode(self, latents_BFHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Latents to uint8 frames (B, P, H, W, 3); see ``VideoCodec.decode``."""
        expected = (self.grid_size, self.grid_size, self.channels)
        if latents_BFHWC.ndim != 5 or latents_BFHWC.shape[2:] != expected:
            raise ValueError(f"latents have shape {tuple(latents_BFHWC.shape)}; expected (batch, latents, *{expected})")
        latents_BFCHW = latents_BFHWC.permute(0, 1, 4, 2, 3)
        frames_BPHWC, state = self._synthesise(latents_BFCHW, state)
        return frames_BPHWC.add_(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8), state

    @torch.no_grad()
    def encode_picture(self, picture_BHWC: Tensor) -> Tensor:
        """uint8 pictures to one latent (B, H, W, C): the latent of the picture standing still."""
        still_BPHWC = picture_BHWC[:, None].expand(-1, self.frames_per_latent, -1, -1, -1)
        return self.encode(still_BPHWC)[0][:, 0]

    # Training --------------------------------------------------------------------------------------------------------
    def forward(self, frames_BPHWC: Tensor, noise_BFCHW: Tensor | None = None) -> Reconstruction:
        """Encode, add ``noise`` to the latents, decode. In training mode latents are normalised by the batch, as the
        running statistics lag behind the weights."""
        features_BFCHW, summary_BFC = self._features(frames_BPHWC, None)
        raw_BFCHW = self._mix(features_BFCHW)
        if self.training:
            variance, mean = torch.var_mean(raw_BFCHW.float(), dim=(0, 1, 3, 4), unbiased=False)
            std = (variance + _VARIANCE_FLOOR).sqrt()
            with torch.no_grad():
                self.latent_mean_C.lerp_(mean, self.momentum)
                self.latent_std_C.lerp_(std, self.momentum)
            latents_BFCHW = (raw_BFCHW - mean[:, None, None]) / std[:, None, None]
        else:
            latents_BFCHW = self._normalise(raw_BFCHW)
        decoded_from = latents_BFCHW if noise_BFCHW is None else latents_BFCHW + noise_BFCHW
        hints_BPT = None
        if self.hint is not None:
            hints_BPT = self.hint(summary_BFC[:, 1:]).unflatten(2, (self.frames_per_latent, -1)).flatten(1, 2)
        frames, _ = self._synthesise(decoded_from, None)
        return Reconstruction(frames_BPHWC=frames, latents_BFCHW=latents_BFCHW, hints_BPT=hints_BPT)

    # Parts -----------------------------------------------------------------------------------------------------------
    def _analyse(self, frames_BPHWC: Tensor, state: State) -> tuple[Tensor, State]:
        """Raw latents (B, F, C, H, W) and the features of the last latent's frames."""
        size, per = self.frame_size, self.frames_per_latent
        if frames_BPHWC.ndim != 5 or frames_BPHWC.shape[2:] != (size, size, _COLOURS):
            raise ValueError(
                f"frames have shape {tuple(frames_BPHWC.shape)}; expected (batch, frames, {size}, {size}, 3)"
            )
        refuse_partial_latents(frames_BPHWC, per)
        features_BFCHW, _ = self._features(frames_BPHWC, state)
        return self._mix(features_BFCHW), features_BFCHW[:, -1]

    def _features(self, frames_BPHWC: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Features (B, 1 + F, C, H, W) of every latent's frames after those of its predecessor, and the summaries of
        the latents that were looked at now."""
        per = self.frames_per_latent
        if state is None:
            frames_BPHWC = torch.cat((frames_BPHWC[:, :1].expand(-1, per, -1, -1, -1), frames_BPHWC), 1)
        scaled = frames_BPHWC.to(self.latent_mean_C.dtype) / 127.5 - 1
        folded = scaled.unflatten(1, (-1, per)).permute(0, 1, 2, 5, 3, 4)
        features, summary = self.encoder(folded.flatten(2, 3).flatten(0, 1))
        features_BFCHW = features.unflatten(0, (len(frames_BPHWC), -1))
        if state is not None:
            features_BFCHW = torch.cat((state[:, None], features_BFCHW), 1)
        return features_BFCHW, summary.unflatten(0, (len(frames_BPHWC), -1))

    def _mix(self, features_BFCHW: Tensor) -> Tensor:
        """Raw latents of all but the first features, which are only past."""
        pair = torch.cat((features_BFCHW[:, 1:], features_BFCHW[:, :-1]), 2)
        raw = self.to_latent(pair.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        return raw.unflatten(0, pair.shape[:2])

    def _normalise(self, raw_BFCHW: Tensor) -> Tensor:
        return (raw_BFCHW - self.latent_mean_C[:, None, None]) / self.latent_std_C[:, None, None]

    def _synthesise(self, latents_BFCHW: Tensor, state: State) -> tuple[Tensor, State]:
        """Frames in [-1, 1], not clipped, and the last latent."""
        batch, num = latents_BFCHW.shape[:2]
        before = latents_BFCHW[:, :1] if state is None else state[:, None]
        past = torch.cat((before, latents_BFCHW[:, :-1]), 1)
        pair = torch.cat((latents_BFCHW, past), 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        frames = self.decoder(pair).unflatten(0, (batch, num))
        return frames.flatten(1, 2).permute(0, 1, 3, 4, 2), latents_BFCHW[:, -1]
