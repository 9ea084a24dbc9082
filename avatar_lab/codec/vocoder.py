"""Deterministic harmonic-plus-noise vocoder: levels, F0 and voicing per 10 ms to a waveform.

Voiced sound: one minimum-phase impulse response per glottal cycle (homomorphic vocoding, Oppenheim 1969; minimum phase
because it is causal and keeps the energy at the pulse). Noise: a fixed noise table, shaped frame by frame. Phase is
counted in integer ticks and the noise by position, so that any chunking gives the same waveform.

    B  batch   R  frames   M  mel bands   N  frequency bins   P  pulses   W  samples of a response   S  samples
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avatar_lab.codec.acoustic_features import F0_MAX, F0_MIN, F0_REFERENCE, LEVEL_FLOOR, LEVEL_UNIT, bins_from_mel
from avatar_lab.tensors import TensorRecord

_TICKS = 2**24
"""Phase ticks per glottal cycle."""
_QUIET = 0.15
"""Levels below this are silence."""
_UNVOICED = 0.1
_HARMONIC_TOP = 6000.0
"""Above this frequency (Hz) even voiced sound is noise."""


@dataclass(frozen=True, kw_only=True)
class VocoderState(TensorRecord):
    """Phase in ticks and position in the noise table (int64), and sound already produced for later samples."""

    phase_B: Tensor
    noise_B: Tensor
    tail_BW: Tensor


class Vocoder(nn.Module):
    """Source-filter synthesis without parameters."""

    to_bins_MN: Tensor
    harmonic_N: Tensor
    noise_T: Tensor
    window_W: Tensor

    def __init__(self, *, sample_rate: int, hop: int, num_mels: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.hop = hop
        self.size = 2 ** math.ceil(math.log2(2 * hop))
        bins = self.size // 2 + 1
        self.register_buffer("to_bins_MN", bins_from_mel(num_mels, bins, sample_rate), persistent=False)
        hertz_N = torch.arange(bins) * sample_rate / self.size
        self.register_buffer("harmonic_N", 1 / (1 + (hertz_N / _HARMONIC_TOP) ** 6), persistent=False)
        table_T = torch.randn(2**16 // hop * hop, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise_T", table_T, persistent=False)
        window_W = torch.sin(math.pi * (torch.arange(2 * hop) + 0.5) / (2 * hop))
        self.register_buffer("window_W", window_W, persistent=False)

    def start(self, batch: int) -> VocoderState:
        """State before the first frame."""
        zeros_B = torch.zeros(batch, dtype=torch.int64, device=self.noise_T.device)
        tail_BW = torch.zeros(batch, self.size, device=self.noise_T.device)
        return VocoderState(phase_B=zeros_B, noise_B=zeros_B, tail_BW=tail_BW)

    def forward(
        self, level_BRM: Tensor, octave_BR: Tensor, voicing_BR: Tensor, state: VocoderState
    ) -> tuple[Tensor, VocoderState]:
        """Waveform (B, R * hop)."""
        batch, frames = octave_BR.shape
        audible_BRM = level_BRM * ((level_BRM - _QUIET) / _QUIET).clamp(0, 1)
        log_level_BRN = audible_BRM * LEVEL_UNIT @ self.to_bins_MN
        power_BRN = LEVEL_FLOOR * torch.expm1(log_level_BRN)
        voicing_BR = torch.where(voicing_BR > _UNVOICED, voicing_BR, torch.zeros_like(voicing_BR))
        f0_BR = (F0_REFERENCE * 2**octave_BR).clamp(F0_MIN, F0_MAX)

        wave_BS = torch.zeros(batch, frames * self.hop + self.size, device=level_BRM.device)
        wave_BS[:, : self.size] = state.tail_BW
        phase_B = self._add_pulses(wave_BS, power_BRN, f0_BR, voicing_BR, state.phase_B)
        share_BRN = 1 - voicing_BR[..., None] * self.harmonic_N
        self._add_noise(wave_BS, (power_BRN * share_BRN).sqrt(), state.noise_B)
        length = frames * self.hop
        noise_B = (state.noise_B + length) % len(self.noise_T)
        tail_BW = wave_BS[:, length:].clone()
        return wave_BS[:, :length].clamp(-1, 1), VocoderState(phase_B=phase_B, noise_B=noise_B, tail_BW=tail_BW)

    def _add_pulses(
        self, wave_BS: Tensor, power_BRN: Tensor, f0_BR: Tensor, voicing_BR: Tensor, phase_B: Tensor
    ) -> Tensor:
        step_BR = (f0_BR * (self.hop / self.sample_rate * _TICKS)).round().long()
        end_BR = phase_B[:, None] + step_BR.cumsum(1)
        begin_BR = end_BR - step_BR
        most = math.ceil(F0_MAX * self.hop / self.sample_rate) + 1
        crossing_BRP = (begin_BR // _TICKS)[..., None] + torch.arange(1, most + 1, device=wave_BS.device)
        sounding_BR = (voicing_BR > 0) & (power_BRN.amax(-1) > 0)
        batch_P, frame_P, which_P = torch.nonzero(
            (crossing_BRP * _TICKS <= end_BR[..., None]) & sounding_BR[..., None], as_tuple=True
        )
        if len(batch_P):
            ticks_P = crossing_BRP[batch_P, frame_P, which_P] * _TICKS - begin_BR[batch_P, frame_P]
            where_P = ticks_P.double() / step_BR[batch_P, frame_P] * self.hop
            whole_P = where_P.floor()
            response_PN, row_P = self._minimum_phase(power_BRN, f0_BR, voicing_BR, batch_P, frame_P)
            fraction_P = (where_P - whole_P).float()
            bins_N = torch.arange(self.size // 2 + 1, device=wave_BS.device)
            angle_PN = -2 * math.pi / self.size * fraction_P[:, None] * bins_N
            pulse_PW = torch.fft.irfft(response_PN[row_P] * torch.polar(torch.ones_like(angle_PN), angle_PN), self.size)
            first_P = batch_P * wave_BS.shape[1] + frame_P * self.hop + whole_P.long()
            index_PW = first_P[:, None] + torch.arange(self.size, device=wave_BS.device)
            wave_BS.view(-1).scatter_add_(0, index_PW.flatten(), pulse_PW.flatten())
        return end_BR[:, -1] % _TICKS

    def _minimum_phase(
        self, power_BRN: Tensor, f0_BR: Tensor, voicing_BR: Tensor, batch_P: Tensor, frame_P: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Spectra of the frames that hold pulses, and each pulse's row among them. The power of a pulse train is its
        response's energy times F0 over the sample rate."""
        key_P = batch_P * f0_BR.shape[1] + frame_P
        key_X, row_P = torch.unique_consecutive(key_P, return_inverse=True)
        gain_X1 = (voicing_BR / f0_BR).flatten()[key_X, None] * self.sample_rate
        power_XN = power_BRN.flatten(0, 1)[key_X] * gain_X1 * self.harmonic_N
        cepstrum_XW = torch.fft.irfft(0.5 * (power_XN + LEVEL_FLOOR).log(), self.size)
        half = self.size // 2
        cepstrum_XW[:, 1:half] *= 2
        cepstrum_XW[:, half + 1 :] = 0
        return torch.exp(torch.fft.rfft(cepstrum_XW)), row_P

    def _add_noise(self, wave_BS: Tensor, gain_BRN: Tensor, noise_B: Tensor) -> None:
        batch, frames, _ = gain_BRN.shape
        piece = 2 * self.hop
        steps = torch.arange(frames * self.hop + self.hop, device=wave_BS.device)
        white_BS = self.noise_T[(noise_B[:, None] + steps) % len(self.noise_T)]
        spectrum_BRN = torch.fft.rfft(white_BS.unfold(1, piece, self.hop) * self.window_W, self.size)
        shaped_BRW = torch.fft.irfft(spectrum_BRN * gain_BRN, self.size)[..., :piece] * self.window_W
        halves_BRHX = shaped_BRW.reshape(batch, frames, 2, self.hop)
        for half in range(2):  # each piece covers its own frame and the next: two additions, no overlap within one
            first = half * self.hop
            wave_BS[:, first : first + frames * self.hop] += halves_BRHX[:, :, half].reshape(batch, -1)
