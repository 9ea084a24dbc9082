"""Mimi, the codec of Moshi (Défossez et al. 2024, arXiv:2410.00037): 24 kHz, 12.5 tokens per second, 8 of 32 codebooks.

Wraps ``transformers.MimiModel``. SEANet convolutions bring the waveform to 25 frames per second, a causal transformer
with a sliding window follows, a convolution of stride 2 gives one latent per 80 ms, and a split residual quantiser
turns it into tokens: one semantic codebook and the acoustic ones quantise the same latent, each group through
projections of its own. The decoder is the mirror image.

Streaming is exact in both directions: tokens are equal, samples to rounding. The encoder uses the library's caches
(exact from pull request 43971 on, before which they attended beyond the window). The library's decoder keeps the past
of attention only, so what its convolutions look back on is carried here: one latent for the upsampling, and as many
25 Hz frames before the SEANet decoder as its receptive field has (8, or 320 ms, in the published network). States are
never changed, so any of them can be continued several times.

Rows of a batch have equal lengths and no padding, because padded ones are encoded differently.

    B batch   S samples   A tokens   K codebooks   V entries   D embedding width   R frames at 25 Hz
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from avatar_lab.codebook import Codebook
from avatar_lab.codec.planned import FINGERPRINT, PlannedAudio
from avatar_lab.codec.pretrained import PretrainedFolder, library
from avatar_lab.codec.protocol import AudioSpec, State, refuse_partial_tokens

OLDEST_TRANSFORMERS = (5, 24)
_PIECE_TOKENS = 125
"""Tokens that pass the network at once (10 s): attention over a whole recording would need memory of its square."""


@dataclass(frozen=True, kw_only=True)
class EncoderState:
    """Keys and values of the sliding window, and the past of each convolution, in the library's containers."""

    attention: Any
    convolutions: Any


@dataclass(frozen=True, kw_only=True)
class DecoderState:
    """Newest latent, keys and values of the sliding window, and the frames that the SEANet decoder looks back on."""

    latent_BD1: Tensor
    attention: Any
    frames_BDR: Tensor


class Mimi:
    """Implements :class:`avatar_lab.codec.protocol.AudioCodec`.

    Computes in single precision on the device of its network and returns results on the device of its input.

    Args:
        network: a ``transformers.MimiModel`` in evaluation mode.
        num_codebooks: how many codebooks are used, the semantic ones first.
        fingerprint: see :class:`AudioSpec`.

    Raises:
        ValueError: the network has fewer codebooks, is not causal, or has entries that cannot be told apart.
    """

    codebook: Codebook
    silence_K: Tensor

    def __init__(self, network: Any, *, num_codebooks: int, fingerprint: str) -> None:
        config = network.config
        if not config.num_semantic_quantizers < num_codebooks <= config.num_quantizers:
            raise ValueError(
                f"num_codebooks {num_codebooks} must exceed the {config.num_semantic_quantizers} semantic ones and be "
                f"at most {config.num_quantizers}"
            )
        if not config.use_causal_conv or config.trim_right_ratio != 1 or config.pad_mode == "reflect":
            raise ValueError(
                "this Mimi looks into the future (see its config.json): a causal one is needed for streaming"
            )
        self._network = network
        self._device = next(network.parameters()).device
        self.samples_per_token = int(config.frame_size)
        self._frames_per_token = int(config.latent_stride)
        self.decoder_context = _frames_of_past(network.decoder.decoder_seanet)
        tables_KVD = _folded_tables(network.quantizer, num_codebooks)
        self.embedding_scale = _deviation(tables_KVD, _usage(network.quantizer, num_codebooks))
        self.codebook = Codebook((tables_KVD / self.embedding_scale).cpu())
        self.silence_K = self._lasting_silence(num_codebooks)
        self.spec = AudioSpec(
            name="mimi",
            sample_rate=config.sampling_rate,
            token_rate=Fraction(config.sampling_rate, self.samples_per_token),
            num_codebooks=num_codebooks,
            codebook_size=self.codebook.size,
            embedding_width=self.codebook.width,
            fingerprint=fingerprint,
        )

    @classmethod
    def load(
        cls, *, source: Path | str, num_codebooks: int = 8, revision: str | None = None, device: str = "cpu"
    ) -> Self:
        """The codec in a folder or in the local hub cache.

        Args:
            source: folder with ``config.json`` and ``model.safetensors``, or a hub id such as ``kyutai/mimi``.
            num_codebooks: see the class.
            revision: branch, tag or commit of the hub repository.
            device: where the network computes.

        Raises:
            ValueError: transformers is missing or too old, or there is no such codec; see also the class.
        """
        transformers = library("transformers", at_least=OLDEST_TRANSFORMERS)
        folder = PretrainedFolder.find(source, stem="model", revision=revision)
        network = folder.load(transformers.MimiModel.from_pretrained, dtype=torch.float32).to(device)
        return cls(network, num_codebooks=num_codebooks, fingerprint=folder.fingerprint(num_codebooks=num_codebooks))

    @staticmethod
    def planned(*, num_codebooks: int = 8) -> PlannedAudio:
        """What is known of the published codec (``kyutai/mimi``) without its weights."""
        return PlannedAudio(
            AudioSpec(
                name="mimi",
                sample_rate=24_000,
                token_rate=Fraction(25, 2),
                num_codebooks=num_codebooks,
                codebook_size=2048,
                embedding_width=512,
                fingerprint=FINGERPRINT,
            )
        )

    # AudioCodec ------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Waveform to tokens (B, A, K); a cold start follows nothing, as in Mimi's training.

        Raises:
            ValueError: the number of samples is not a multiple of a token.
        """
        refuse_partial_tokens(wav_BS, self.samples_per_token)
        tokens = [wav_BS.new_zeros((len(wav_BS), 0, self.codebook.num_codebooks), dtype=torch.int64)]
        for piece_BS in wav_BS.split(_PIECE_TOKENS * self.samples_per_token, dim=1) if wav_BS.shape[1] else ():
            piece_BAK, state = self._encode_piece(piece_BS.to(self._device, torch.float32), state)
            tokens.append(piece_BAK.to(wav_BS.device))
        return torch.cat(tokens, dim=1), state

    @torch.no_grad()
    def decode(self, tokens_BAK: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Tokens to waveform (B, A * samples per token) in [-1, 1].

        Raises:
            ValueError: the tokens have another number of codebooks or lie outside them.
        """
        if tokens_BAK.ndim != 3 or tokens_BAK.shape[2] != self.codebook.num_codebooks:
            raise ValueError(
                f"decode needs (batch, tokens, {self.codebook.num_codebooks}), got {tuple(tokens_BAK.shape)}"
            )
        if tokens_BAK.numel() and not 0 <= int(tokens_BAK.min()) <= int(tokens_BAK.max()) < self.codebook.size:
            raise ValueError(f"tokens must lie in 0..{self.codebook.size - 1}; is this another codec's stream?")
        sound = [torch.zeros(len(tokens_BAK), 0, device=tokens_BAK.device)]
        for piece_BAK in tokens_BAK.split(_PIECE_TOKENS, dim=1) if tokens_BAK.shape[1] else ():
            piece_BS, state = self._decode_piece(piece_BAK.to(self._device), state)
            sound.append(piece_BS.clamp(-1, 1).to(tokens_BAK.device))
        return torch.cat(sound, dim=1), state

    # One piece of any length -----------------------------------------------------------------------------------------
    def _encode_piece(self, wav_BS: Tensor, state: EncoderState | None) -> tuple[Tensor, EncoderState]:
        before = copy.deepcopy(state)  # the library writes into its caches
        with torch.autocast(self._device.type, enabled=False):
            output = self._network.encode(
                wav_BS[:, None],
                num_quantizers=self.codebook.num_codebooks,
                encoder_cache=None if before is None else before.attention,
                padding_cache=None if before is None else before.convolutions,
                use_streaming=True,
            )
        after = EncoderState(attention=output.encoder_cache, convolutions=output.padding_cache)
        return output.audio_codes.mT, after

    def _decode_piece(self, tokens_BAK: Tensor, state: DecoderState | None) -> tuple[Tensor, DecoderState]:
        decoder = self._network.decoder
        with torch.autocast(self._device.type, enabled=False):
            latent_BDA = self._network.quantizer.decode(tokens_BAK.mT)
            if state is None:
                frames_BDR = decoder.upsample(latent_BDA)
            else:
                frames_BDR = decoder.upsample(torch.cat([state.latent_BD1, latent_BDA], dim=2))
                frames_BDR = frames_BDR[..., self._frames_per_token :]
            attention = None if state is None else copy.deepcopy(state.attention)
            attended = decoder.decoder_transformer(frames_BDR.mT, cache=attention, use_cache=True)
            frames_BDR = attended.last_hidden_state.mT
            if state is not None:
                frames_BDR = torch.cat([state.frames_BDR, frames_BDR], dim=2)
            wav_BS = decoder.decoder_seanet(frames_BDR)[:, 0, -tokens_BAK.shape[1] * self.samples_per_token :]
        after = DecoderState(
            latent_BD1=latent_BDA[..., -1:],
            attention=attended.cache,
            frames_BDR=frames_BDR[..., -self.decoder_context :],
        )
        return wav_BS, after

    # Facts about the network -----------------------------------------------------------------------------------------
    @torch.no_grad()
    def _lasting_silence(self, num_codebooks: int) -> Tensor:
        """Tokens (K,) that digital silence settles to.

        Once the convolutions see nothing but silence, all frames are equal; attention over equal frames returns their
        one value, whatever the window and the positions. So one frame alone passes the transformer as the last one of
        an endless silence would, and the minutes that its layers look back need not be computed.
        """
        encoder = self._network.encoder
        per_frame = self.samples_per_token // self._frames_per_token
        frames = _samples_of_past(encoder.encoder_seanet) // per_frame + 2
        silence_B1S = torch.zeros(1, 1, frames * per_frame, device=self._device)
        with torch.autocast(self._device.type, enabled=False):
            frame_1R1 = encoder.encoder_seanet(silence_B1S)[..., -1:]
            frame_1R1 = encoder.encoder_transformer(frame_1R1.mT).last_hidden_state.mT
            latent_BDA = encoder.downsample(frame_1R1.expand(-1, -1, 2 * self._frames_per_token))
            return self._network.quantizer.encode(latent_BDA, num_codebooks)[:, 0, -1].cpu()


def _codebook_groups(quantizer: Any, num_codebooks: int) -> list[tuple[Any, nn.Conv1d | None]]:
    """The first codebooks, each with the output projection of its group."""
    semantic, acoustic = quantizer.semantic_residual_vector_quantizer, quantizer.acoustic_residual_vector_quantizer
    books = [(layer.codebook, group.output_proj) for group in (semantic, acoustic) for layer in group.layers]
    return books[:num_codebooks]


@torch.no_grad()
def _folded_tables(quantizer: Any, num_codebooks: int) -> Tensor:
    """Tables (K, V, D) whose sums are the quantiser's decoded latents: projections are linear and without bias."""
    return torch.stack(
        [
            book.embed if project is None else book.embed @ project.weight[:, :, 0].T
            for book, project in _codebook_groups(quantizer, num_codebooks)
        ]
    )


def _usage(quantizer: Any, num_codebooks: int) -> Tensor:
    """Share (K, V) of each entry as Mimi's own training counted it."""
    usage_KV = torch.stack([book.cluster_usage for book, _ in _codebook_groups(quantizer, num_codebooks)]).clamp(min=0)
    return usage_KV / usage_KV.sum(1, keepdim=True)


def _deviation(tables_KVD: Tensor, share_KV: Tensor) -> float:
    """Root mean square of the embeddings of sound whose codebooks are used so, independently of each other."""
    mean_KD = torch.einsum("kv,kvd->kd", share_KV, tables_KVD)
    square_K = torch.einsum("kv,kvd->k", share_KV, tables_KVD.square())
    total = mean_KD.sum(0).square().sum() + (square_K - mean_KD.square().sum(-1)).sum()
    return float((total / tables_KVD.shape[-1]).sqrt())


def _frames_of_past(decoder: nn.Module) -> int:
    """Receptive field of a causal SEANet decoder, in input frames before the first new one."""
    past = 0
    for layer in reversed(_convolutions(decoder)):
        reach = (layer.kernel_size[0] - 1) * layer.dilation[0]
        past = (past + reach) // layer.stride[0] if isinstance(layer, nn.ConvTranspose1d) else past + reach
    return past


def _samples_of_past(encoder: nn.Module) -> int:
    """Receptive field of a causal SEANet encoder, in samples before the newest one of a frame."""
    past = 0
    for layer in reversed(_convolutions(encoder)):
        past = past * layer.stride[0] + (layer.kernel_size[0] - 1) * layer.dilation[0]
    return past


def _convolutions(network: nn.Module) -> list[Any]:
    """Convolutions in the order in which they are passed (shortcuts of kernel 1 reach nowhere)."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)]
