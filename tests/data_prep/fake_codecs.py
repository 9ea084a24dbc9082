"""Small codecs with the protocol of ``codec/protocol.py`` and visible running state, for tests of the data path."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from avatar_lab.codebook import Codebook
from avatar_lab.codec.protocol import AudioSpec, State, VideoSpec


class FakeAudio:
    """Token 0: level in 3 dB steps; token 1: the previous token's level (running state)."""

    def __init__(self, *, fingerprint: str = "fake-audio", sample_rate: int = 24_000) -> None:
        self.spec = AudioSpec(
            name="fake_audio",
            sample_rate=sample_rate,
            token_rate=Fraction(25, 2),
            num_codebooks=2,
            codebook_size=32,
            embedding_width=4,
            fingerprint=fingerprint,
        )
        self.codebook = Codebook(torch.randn(2, 32, 4, generator=torch.Generator().manual_seed(0)))
        self.silence_K = torch.zeros(2, dtype=torch.int64)

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        per_token = int(self.spec.sample_rate / self.spec.token_rate)
        if wav_BS.shape[1] % per_token:
            raise ValueError("not whole tokens")
        power = wav_BS.unflatten(1, (-1, per_token)).square().mean(-1)
        level_BA = ((10 * torch.log10(power + 1e-9) + 90) / 3).clamp(0, 31).long()
        before = torch.zeros(len(wav_BS), dtype=torch.int64) if state is None else state
        previous_BA = torch.cat((before[:, None], level_BA[:, :-1]), 1)
        return torch.stack((level_BA, previous_BA), -1), level_BA[:, -1]

    def decode(self, tokens_BAK: Tensor, state: State = None) -> tuple[Tensor, State]:
        per_token = int(self.spec.sample_rate / self.spec.token_rate)
        amplitude_BA = 10 ** ((tokens_BAK[..., 0] * 3 - 90) / 20)
        return amplitude_BA.repeat_interleave(per_token, 1), state


class FakeVideo:
    """Latent: mean colour of each quarter of the picture over four frames, leaking a quarter of the latent before."""

    def __init__(self, *, fingerprint: str = "fake-video", size: int = 16) -> None:
        self.spec = VideoSpec(
            name="fake_video",
            frames_per_latent=4,
            frame_height=size,
            frame_width=size,
            grid_height=2,
            grid_width=2,
            channels=3,
            warm_latents=8,
            fingerprint=fingerprint,
        )

    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        half = self.spec.frame_height // 2
        if frames_BPHWC.shape[2:] != (2 * half, 2 * half, 3) or frames_BPHWC.shape[1] % 4:
            raise ValueError(f"bad frames {tuple(frames_BPHWC.shape)}")
        quarters = frames_BPHWC.float().unflatten(3, (2, half)).unflatten(2, (2, half)).mean((3, 5)) / 127.5 - 1
        raw = quarters.unflatten(1, (-1, 4)).mean(2)
        last = quarters[:, 0] if state is None else state
        latents = []
        for index in range(raw.shape[1]):
            last = 0.75 * raw[:, index] + 0.25 * last
            latents.append(last)
        return torch.stack(latents, 1), last

    def decode(self, latents_BFHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        half = self.spec.frame_height // 2
        frames = ((latents_BFHWC + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        frames = frames.repeat_interleave(half, 2).repeat_interleave(half, 3).repeat_interleave(4, 1)
        return frames, state

    def encode_picture(self, picture_BHWC: Tensor) -> Tensor:
        return self.encode(picture_BHWC[:, None].expand(-1, 4, -1, -1, -1))[0][:, 0]
