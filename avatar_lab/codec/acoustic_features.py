"""What the tiny audio codec measures every 10 ms: log-mel envelope, F0 and periodicity, from past samples only.

F0 is the best lag of the normalised autocorrelation (Talkin 1995, "RAPT"), preferring short lags against octave errors.
All features of a quiet room are exactly zero, so that silence and its noise floor give the same tokens.

    B  batch   S  samples   R  frames   M  mel bands   N  frequency bins   J  lags   X  features
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

F0_REFERENCE = 150.0
F0_MIN, F0_MAX = 60.0, 500.0
LEVEL_FLOOR = 3e-8
"""Power per sample of white noise that counts as silence, 15 dB above the floor of a 16-bit recording."""
CONSTANTS = torch.device("cpu")
"""Where constants are computed, also when networks are only described (meta device)."""
LEVEL_UNIT = 3.0
"""Nepers of power per unit of the mel features (13 dB)."""


def mel_matrix(num_mels: int, num_bins: int, sample_rate: int) -> Tensor:
    """Triangular filters (M, N) that average the power of their band."""
    centres_M = mel_centres(num_mels, sample_rate)
    step = centres_M[1] - centres_M[0]
    mel_N = hertz_to_mel(torch.arange(num_bins, device=CONSTANTS) * sample_rate / 2 / (num_bins - 1))
    weight_MN = (1 - (mel_N[None] - centres_M[:, None]).abs() / step).clamp(min=0)
    nearest_M = (mel_N[None] - centres_M[:, None]).abs().argmin(1)
    empty_M = weight_MN.sum(1) < 1e-6
    weight_MN[empty_M, nearest_M[empty_M]] = 1.0
    return weight_MN / weight_MN.sum(1, keepdim=True)


def mel_centres(num_mels: int, sample_rate: int) -> Tensor:
    """Band centres (M,) in mel, evenly spaced below half the sample rate."""
    top = float(hertz_to_mel(torch.tensor(sample_rate / 2, device=CONSTANTS)))
    return (torch.arange(num_mels, device=CONSTANTS) + 1.0) * top / (num_mels + 1)


def hertz_to_mel(hertz: Tensor) -> Tensor:
    """The mel scale of O'Shaughnessy 1987."""
    return 2595 * torch.log10(1 + hertz / 700)


def bins_from_mel(num_mels: int, num_bins: int, sample_rate: int) -> Tensor:
    """Linear interpolation (M, N) from mel bands to frequency bins, constant beyond the outer centres."""
    centres_M = mel_centres(num_mels, sample_rate)
    mel_N = hertz_to_mel(torch.arange(num_bins, device=CONSTANTS) * sample_rate / 2 / (num_bins - 1))
    place_N = ((mel_N - centres_M[0]) / (centres_M[1] - centres_M[0])).clamp(0, num_mels - 1)
    return (1 - (place_N[None] - torch.arange(num_mels, device=CONSTANTS)[:, None]).abs()).clamp(min=0)


class AcousticFeatures(nn.Module):
    """Frame features from a waveform preceded by ``context`` samples of its past."""

    window_W: Tensor
    mel_MN: Tensor
    low_pass_T: Tensor
    lag_bias_J: Tensor

    def __init__(self, *, sample_rate: int, hop: int, num_mels: int) -> None:
        super().__init__()
        self.hop = hop
        self.num_mels = num_mels
        self.window = 5 * hop // 2
        self.fft_size = 2 ** math.ceil(math.log2(self.window))
        self.decimation = max(1, sample_rate // 6000)
        rate = sample_rate / self.decimation
        self.pitch_rate = rate
        self.lag_min, self.lag_max = math.floor(rate / F0_MAX), math.ceil(rate / F0_MIN)
        self.pitch_window = self.window // self.decimation
        taps = 8 * self.decimation + 1
        pitch_reach = (self.pitch_window + self.lag_max + 1) * self.decimation + taps
        self.context = math.ceil(max(pitch_reach, self.window) / hop) * hop
        self.num_features = num_mels + 3

        window_W = torch.hann_window(self.window, periodic=True)
        self.register_buffer("window_W", window_W / window_W.square().sum().sqrt(), persistent=False)
        self.register_buffer("mel_MN", mel_matrix(num_mels, self.fft_size // 2 + 1, sample_rate), persistent=False)
        time = torch.arange(taps) - taps // 2
        low_pass_T = torch.sinc(0.6 * time / self.decimation) * torch.hann_window(taps + 2, periodic=False)[1:-1]
        self.register_buffer("low_pass_T", low_pass_T / low_pass_T.sum(), persistent=False)
        lags_J = torch.arange(self.lag_min - 1, self.lag_max + 2)
        self.register_buffer("lag_bias_J", 1 - 0.12 * lags_J / self.lag_max, persistent=False)

    def forward(self, wav_BS: Tensor) -> Tensor:
        """Features (B, R, X) of the ``R * hop`` samples that follow the first ``context`` ones."""
        level_BRM = self.level(wav_BS[:, self.context - self.window + self.hop :])
        octave_BR, clarity_BR = self.pitch(wav_BS)
        gate_BR = ((clarity_BR - 0.4) / 0.3).clamp(0, 1)
        extra_BRX = torch.stack([gate_BR, (clarity_BR - 0.3).clamp(0, 1), octave_BR * gate_BR], dim=-1)
        return torch.cat([level_BRM, extra_BRX], dim=-1)

    def centred_level(self, wav_BS: Tensor) -> Tensor:
        """Levels (B, R, M) in windows centred on their frames: the decoder's target, which looks into the future."""
        ahead = (self.window - self.hop) // 2
        return self.level(functional.pad(wav_BS, (ahead, ahead)))

    def level(self, wav_BS: Tensor) -> Tensor:
        """Log-mel power above the floor, in units of ``LEVEL_UNIT``; 0 is silence."""
        frames_BRW = wav_BS.unfold(1, self.window, self.hop) * self.window_W
        spectrum_BRN = torch.fft.rfft(frames_BRW, self.fft_size)
        power_BRM = (spectrum_BRN.real.square() + spectrum_BRN.imag.square()) @ self.mel_MN.T
        return (power_BRM / LEVEL_FLOOR).clamp(min=1).log() / LEVEL_UNIT

    def pitch(self, wav_BS: Tensor) -> tuple[Tensor, Tensor]:
        """F0 in octaves from ``F0_REFERENCE`` and clarity in [0, 1], both (B, R)."""
        frames = (wav_BS.shape[1] - self.context) // self.hop
        reach = self.pitch_window + self.lag_max + 1
        taps = len(self.low_pass_T)
        # the first frame's newest sample is hop - 1 after the context
        first = self.context + self.hop - (reach - 1) * self.decimation - taps
        low_BS = functional.conv1d(wav_BS[:, None, first:], self.low_pass_T[None, None], stride=self.decimation)[:, 0]
        segment_BRJ = low_BS.unfold(1, reach, self.hop // self.decimation)[:, :frames]
        newest_BRJ = segment_BRJ[..., -self.pitch_window :]
        size = 2 ** math.ceil(math.log2(reach + self.pitch_window))
        cross = torch.fft.rfft(segment_BRJ, size) * torch.fft.rfft(newest_BRJ, size).conj()
        product_BRJ = torch.fft.irfft(cross, size)[..., : self.lag_max + 2].flip(-1)[..., self.lag_min - 1 :]
        total_BRJ = functional.pad(segment_BRJ.square().cumsum(-1), (1, 0))
        energy_BRJ = (total_BRJ[..., self.pitch_window :] - total_BRJ[..., : -self.pitch_window]).flip(-1)
        own_BR1 = energy_BRJ[..., :1]
        energy_BRJ = energy_BRJ[..., self.lag_min - 1 :].clamp(min=0)
        floor = self.pitch_window * 10 * LEVEL_FLOOR
        nccf_BRJ = product_BRJ / ((own_BR1 * energy_BRJ).clamp(min=0).sqrt() + floor)

        inner_BRJ = nccf_BRJ[..., 1:-1]
        is_peak = (inner_BRJ >= nccf_BRJ[..., :-2]) & (inner_BRJ >= nccf_BRJ[..., 2:])
        score_BRJ = torch.where(is_peak, inner_BRJ * self.lag_bias_J[1:-1], torch.full_like(inner_BRJ, -1.0))
        best_BR1 = score_BRJ.argmax(-1, keepdim=True)
        before, here, after = (nccf_BRJ.gather(-1, best_BR1 + i)[..., 0] for i in range(3))
        bend = (before - 2 * here + after).clamp(max=-1e-6)
        offset_BR = (0.5 * (before - after) / bend).clamp(-0.5, 0.5)
        lag_BR = best_BR1[..., 0] + self.lag_min + offset_BR
        return torch.log2(self.pitch_rate / lag_BR / F0_REFERENCE), here.clamp(0, 1)
