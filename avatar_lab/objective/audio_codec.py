"""Training the audio codec on features: no waveform in the loop.

The decoder must give back, per 10 ms, the log-mel level in windows centred on the frame, F0 where there is voicing, and
the harmonic share. Codebooks are trained by their moving averages (``codec/vector_quantizer.py``), the encoder by the
straight-through gradient and a commitment term; ``spread`` keeps the mean square of speech latents at 1, which is the
scale that the flow wants; random depth lets the first codebooks carry most (SoundStream, 3.3).

    B batch   S samples   R frames   M mel bands   A tokens
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from avatar_lab.codec.acoustic_features import F0_REFERENCE, hertz_to_mel, mel_centres
from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.objective.losses import Losses, masked_mean

_SEMITONES = 12.0
_SPEECH_TOP = 5000.0


class AudioCodecObjective:
    """Losses of :class:`TinyAudio` on a batch of ``wav_S``, ``f0_R`` and ``voicing_R`` (see ``world/utterances.py``).

    Args:
        shallow: share of samples that are decoded from fewer than all codebooks.
        high_bands: weight of level errors in bands above 5 kHz, which matter less for what is said.
    """

    def __init__(
        self,
        *,
        level: float = 1.0,
        change: float = 0.5,
        pitch: float = 0.5,
        voicing: float = 0.3,
        commitment: float = 0.1,
        spread: float = 0.2,
        shallow: float = 0.25,
        high_bands: float = 0.4,
    ) -> None:
        self.weights = {
            "level": level,
            "change": change,
            "pitch": pitch,
            "voicing": voicing,
            "commitment": commitment,
            "spread": spread,
        }
        self.shallow = shallow
        self.high_bands = high_bands

    def __call__(self, net: TinyAudio, batch: Mapping[str, Tensor], rng: torch.Generator) -> Losses:
        wav_BS = batch["wav_S"]
        with torch.no_grad():
            features_BRX = net.features(functional.pad(wav_BS, (net.features.context, 0)))
            level_BRM = net.features.centred_level(wav_BS)
        return self.on_features(net, features_BRX, level_BRM, batch["f0_R"], batch["voicing_R"], rng)

    def on_features(
        self,
        net: TinyAudio,
        features_BRX: Tensor,
        level_BRM: Tensor,
        f0_BR: Tensor,
        voicing_BR: Tensor,
        rng: torch.Generator,
    ) -> Losses:
        """The same on features that have been computed before."""
        batch = len(features_BRX)
        latent_BAD, _ = net.latents(features_BRX, net.encoder.start(batch))
        embedding_BAD, tokens_BAK = net.quantizer.straight_through(latent_BAD, self._depth(net, batch, rng))
        frames_BRX, _, _ = net.frames(embedding_BAD, net.decoder.start(batch), net.frame_conv.start(batch))
        guess_BRM, octave_BR, logit_BR = net.read(frames_BRX)

        active_BR = level_BRM.amax(-1) > 0.5
        centres_M = mel_centres(net.num_mels, net.sample_rate).to(level_BRM)
        high_M = centres_M > hertz_to_mel(torch.tensor(_SPEECH_TOP))
        weight_M = 1 - (1 - self.high_bands) * high_M.to(level_BRM)
        error_BRM = guess_BRM - level_BRM
        change_BRM = error_BRM[:, 1:] - error_BRM[:, :-1]
        semitone_BR = _SEMITONES * (octave_BR - torch.log2(f0_BR / F0_REFERENCE))
        voiced_BR = voicing_BR * active_BR
        active_BA = active_BR.unflatten(1, (-1, net.frames_per_token)).any(-1)
        power_B = masked_mean(latent_BAD.square(), active_BA)
        quantised_BAD = net.codebook.embed(tokens_BAK)
        terms = {
            "level": (weight_M * (error_BRM.abs() + error_BRM.square())).flatten(1).mean(1),
            "change": (weight_M * change_BRM.abs()).flatten(1).mean(1),
            "pitch": (
                functional.huber_loss(semitone_BR, torch.zeros_like(semitone_BR), reduction="none") * voiced_BR
            ).mean(1),
            "voicing": functional.binary_cross_entropy_with_logits(logit_BR, voiced_BR, reduction="none").mean(1),
            "spread": torch.where(active_BA.any(1), power_B - 1, torch.zeros_like(power_B)).square(),
            "commitment": (latent_BAD - quantised_BAD.detach()).square().flatten(1).mean(1),
        }
        if net.training:
            net.quantizer.learn(latent_BAD, rng)
        logs = {
            "level_error_db": 13.0 * masked_mean(error_BRM.abs(), active_BR).mean().detach(),
            "pitch_error_cents": 100 * masked_mean(semitone_BR.abs(), voiced_BR > 0.8).mean().detach(),
            "first_book_entries": torch.tensor(float(tokens_BAK[..., 0].unique().numel())),
        }
        return Losses(terms=terms, weights=self.weights, logs=logs)

    def _depth(self, net: TinyAudio, batch: int, rng: torch.Generator) -> Tensor:
        """Number of codebooks to decode from, per sample."""
        most = net.codebook.num_codebooks
        shallow_B = torch.rand(batch, generator=rng) < self.shallow
        depth_B = torch.randint(1, most + 1, (batch,), generator=rng)
        return torch.where(shallow_B, depth_B, torch.full_like(depth_B, most)).to(net.read_out.weight.device)
