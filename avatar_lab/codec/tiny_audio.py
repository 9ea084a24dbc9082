"""The embedded audio codec: 24 kHz to 12.5 tokens per second, four codebooks, causal, about 1 MB.

Encoder: features of eight 10 ms frames (``acoustic_features``) -> causal convolutions over tokens -> residual vector
quantiser. Decoder: causal convolutions -> level, F0 and voicing per frame -> vocoder. A token depends on the samples of
its own 80 ms and of the past; decoding it yields exactly its own 80 ms. Training needs features only.

    B batch   S samples   A tokens   K codebooks   D width   R frames   M mel bands   X features
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar_lab.codebook import Codebook
from avatar_lab.codec.acoustic_features import AcousticFeatures
from avatar_lab.codec.causal_conv import CausalConv, CausalStack
from avatar_lab.codec.protocol import AudioSpec, State, refuse_partial_tokens
from avatar_lab.codec.vector_quantizer import ResidualVectorQuantizer
from avatar_lab.codec.vocoder import Vocoder, VocoderState
from avatar_lab.layout import Layout
from avatar_lab.weight_file import ShippedNetwork


@dataclass(frozen=True, kw_only=True)
class EncoderState:
    """Newest samples, and the past of each convolution."""

    wav_BS: Tensor
    past: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class DecoderState:
    """The past of each convolution over tokens and over frames, and the vocoder's state."""

    past: tuple[Tensor, ...]
    frame_past_BRX: Tensor
    vocoder: VocoderState


class TinyAudio(ShippedNetwork):
    """Implements :class:`avatar_lab.codec.protocol.AudioCodec`; widths are free so that tests can be small."""

    file = "tiny_audio.safetensors"

    def __init__(
        self,
        *,
        sample_rate: int = Layout.sample_rate,
        token_rate: str | Fraction = Layout.audio_rate,
        frames_per_token: int = 8,
        num_mels: int = 40,
        num_codebooks: int = 4,
        codebook_size: int = 256,
        embedding_width: int = 24,
        width: int = 144,
        frame_width: int = 48,
        encoder_dilations: tuple[int, ...] = (1, 2),
        decoder_dilations: tuple[int, ...] = (1, 2, 4),
    ) -> None:
        super().__init__()
        token_samples = sample_rate / Fraction(token_rate)
        if token_samples % frames_per_token:
            raise ValueError(
                f"{frames_per_token} frames do not divide a token of {token_samples} samples; change frames_per_token"
            )
        self.config = {
            "sample_rate": sample_rate,
            "token_rate": str(Fraction(token_rate)),
            "frames_per_token": frames_per_token,
            "num_mels": num_mels,
            "num_codebooks": num_codebooks,
            "codebook_size": codebook_size,
            "embedding_width": embedding_width,
            "width": width,
            "frame_width": frame_width,
            "encoder_dilations": list(encoder_dilations),
            "decoder_dilations": list(decoder_dilations),
        }
        self.sample_rate = sample_rate
        self.token_rate = Fraction(token_rate)
        self.samples_per_token = int(token_samples)
        self.frames_per_token = frames_per_token
        self.num_mels = num_mels
        hop = self.samples_per_token // frames_per_token
        self.features = AcousticFeatures(sample_rate=sample_rate, hop=hop, num_mels=num_mels)
        self.encoder = CausalStack(
            frames_per_token * self.features.num_features,
            embedding_width,
            width=width,
            kernel=2,
            dilations=tuple(encoder_dilations),
        )
        self.quantizer = ResidualVectorQuantizer(
            num_codebooks=num_codebooks, codebook_size=codebook_size, width=embedding_width
        )
        self.decoder = CausalStack(
            embedding_width, frames_per_token * frame_width, width=width, kernel=2, dilations=tuple(decoder_dilations)
        )
        self.frame_conv = CausalConv(frame_width, frame_width, kernel=5)
        self.read_out = nn.Linear(frame_width, num_mels + 2)
        self.vocoder = Vocoder(sample_rate=sample_rate, hop=hop, num_mels=num_mels)

    # AudioCodec ------------------------------------------------------------------------------------------------------
    @property
    def codebook(self) -> Codebook:
        return self.quantizer.codebook

    @property
    def spec(self) -> AudioSpec:
        return AudioSpec(
            name="tiny_audio",
            sample_rate=self.sample_rate,
            token_rate=self.token_rate,
            num_codebooks=self.codebook.num_codebooks,
            codebook_size=self.codebook.size,
            embedding_width=self.codebook.width,
            fingerprint="meta" if self.read_out.weight.is_meta else self.fingerprint(),
        )

    @property
    def silence_K(self) -> Tensor:
        """Tokens of lasting silence, which all features of a quiet room lead to."""
        with torch.no_grad():
            past = self.encoder.start(1)
            return self.quantizer(self.latents(self._no_features(self.encoder.reach + 1), past)[0])[0, -1]

    @torch.no_grad()
    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Waveform to tokens (B, A, K); a cold start behaves as if it had been silent before.

        Raises:
            ValueError: the number of samples is not a multiple of a token.
        """
        refuse_partial_tokens(wav_BS, self.samples_per_token)
        if state is None:
            state = self._encoder_start(wav_BS)
        wav_BS = torch.cat([state.wav_BS, wav_BS], dim=1)
        newest_BS = wav_BS[:, wav_BS.shape[1] - self.features.context :]
        if wav_BS.shape[1] == self.features.context:
            tokens_BAK = wav_BS.new_zeros((len(wav_BS), 0, self.codebook.num_codebooks), dtype=torch.int64)
            return tokens_BAK, state
        latent_BAD, past = self.latents(self.features(wav_BS), state.past)
        return self.quantizer(latent_BAD), EncoderState(wav_BS=newest_BS, past=past)

    @torch.no_grad()
    def decode(self, tokens_BAK: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Tokens to waveform (B, A * samples per token); a cold start follows silence.

        Raises:
            ValueError: the tokens have another number of codebooks or lie outside them.
        """
        if tokens_BAK.ndim != 3 or tokens_BAK.shape[2] != self.codebook.num_codebooks:
            raise ValueError(
                f"decode needs (batch, tokens, {self.codebook.num_codebooks}), got {tuple(tokens_BAK.shape)}"
            )
        if state is None:
            state = self._decoder_start(len(tokens_BAK))
        if not tokens_BAK[..., 0].numel():
            length = tokens_BAK.shape[1] * self.samples_per_token
            return self.read_out.weight.new_zeros(len(tokens_BAK), length), state
        if int(tokens_BAK.min()) < 0 or int(tokens_BAK.max()) >= self.codebook.size:
            raise ValueError(f"tokens must lie in 0..{self.codebook.size - 1}; is this another codec's stream?")
        embedding_BAD = self.codebook.embed(tokens_BAK)
        # Row by row: products over more rows add up in another order, and the phase of a voice gathers the difference.
        rows = [self._decode_row(embedding_BAD, state, slice(row, row + 1)) for row in range(len(tokens_BAK))]
        level_BRM, octave_BR, voicing_BR, frame_past_BRX, *past = map(torch.cat, zip(*rows, strict=True))
        wav_BS, vocoder = self.vocoder(level_BRM, octave_BR, voicing_BR.sigmoid(), state.vocoder)
        return wav_BS, DecoderState(past=tuple(past), frame_past_BRX=frame_past_BRX, vocoder=vocoder)

    def _decode_row(self, embedding_BAD: Tensor, state: DecoderState, row: slice) -> tuple[Tensor, ...]:
        """What the vocoder needs of one row, then the row's past over frames and of each convolution."""
        before = tuple(past[row] for past in state.past)
        frames_BRX, past, frame_past_BRX = self.frames(embedding_BAD[row], before, state.frame_past_BRX[row])
        return *self.read(frames_BRX), frame_past_BRX, *past

    # The network, shared by training and use -------------------------------------------------------------------------
    def latents(self, features_BRX: Tensor, past: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Unquantised embeddings (B, A, D) of whole tokens of features."""
        batch, frames, _ = features_BRX.shape
        return self.encoder(features_BRX.reshape(batch, frames // self.frames_per_token, -1), past)

    def frames(
        self, embedding_BAD: Tensor, past: tuple[Tensor, ...], frame_past_BRX: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Hidden frames (B, R, X) of whole tokens."""
        hidden_BAX, past = self.decoder(embedding_BAD, past)
        frames_BRX = hidden_BAX.reshape(len(hidden_BAX), hidden_BAX.shape[1] * self.frames_per_token, -1)
        change_BRX, frame_past_BRX = self.frame_conv(frames_BRX, frame_past_BRX)
        return frames_BRX + functional.gelu(change_BRX), past, frame_past_BRX

    def read(self, frames_BRX: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Level (B, R, M), F0 in octaves from the reference (B, R), voicing logit (B, R)."""
        out_BRX = self.read_out(frames_BRX)
        return out_BRX[..., : self.num_mels], out_BRX[..., -2], out_BRX[..., -1]

    def _no_features(self, tokens: int) -> Tensor:
        frames = tokens * self.frames_per_token
        return self.read_out.weight.new_zeros(1, frames, self.features.num_features)

    def _encoder_start(self, wav_BS: Tensor) -> EncoderState:
        _, past = self.latents(self._no_features(self.encoder.reach + 1), self.encoder.start(1))
        context_BS = wav_BS.new_zeros(len(wav_BS), self.features.context)
        return EncoderState(wav_BS=context_BS, past=tuple(p.expand(len(wav_BS), -1, -1) for p in past))

    def _decoder_start(self, batch: int) -> DecoderState:
        silence_BAD = self.codebook.embed(self.silence_K).expand(1, self.decoder.reach + self.frame_conv.past + 1, -1)
        _, past, frame_past_BRX = self.frames(silence_BAD, self.decoder.start(1), self.frame_conv.start(1))
        return DecoderState(
            past=tuple(p.expand(batch, -1, -1) for p in past),
            frame_past_BRX=frame_past_BRX.expand(batch, -1, -1),
            vocoder=self.vocoder.start(batch),
        )

    # Files -----------------------------------------------------------------------------------------------------------
    @classmethod
    def load(cls, path: Path | str | None = None) -> Self:
        codec = super().load(path)
        Codebook(codec.codebook.tables_KVD)  # refuses tables from which tokens cannot be read back
        return codec
