"""Codecs that each break one promise: what the conformance suite must notice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from avatar_lab.codebook import Codebook
from avatar_lab.codec.protocol import AudioCodec, State, VideoCodec


class BrokenAudio:
    """Passes everything on; subclasses spoil one thing."""

    def __init__(self, codec: AudioCodec) -> None:
        self.codec = codec
        self.spec, self.codebook, self.silence_K = codec.spec, codec.codebook, codec.silence_K

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        return self.codec.encode(wav_BS, state)

    def decode(self, tokens_BAK: Tensor, state: State = None) -> tuple[Tensor, State]:
        return self.codec.decode(tokens_BAK, state)


class HearsAhead(BrokenAudio):
    """Each token already holds half of the next 80 ms."""

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        return self.codec.encode(wav_BS.roll(-960, -1), state)


class SpeaksAhead(BrokenAudio):
    """Each 80 ms already say half of the next token."""

    def decode(self, tokens_BAK: Tensor, state: State = None) -> tuple[Tensor, State]:
        sound_BS, state = self.codec.decode(tokens_BAK, state)
        return sound_BS.roll(-960, 1), state


class MixesVoices(BrokenAudio):
    """Levels are normalised over the batch."""

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        return self.codec.encode(0.2 * wav_BS / wav_BS.std().clamp(min=1e-3), state)


class ForgetsSound(BrokenAudio):
    """Every piece starts cold."""

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        return self.codec.encode(wav_BS)

    def decode(self, tokens_BAK: Tensor, state: State = None) -> tuple[Tensor, State]:
        return self.codec.decode(tokens_BAK)


class OverwritesSound(BrokenAudio):
    """The state is one object that each call changes, as library caches do."""

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        box: dict[str, Any] = {"state": None} if state is None else state
        tokens_BAK, box["state"] = self.codec.encode(wav_BS, box["state"])
        return tokens_BAK, box


class HidesSound(BrokenAudio):
    """The past lives in the codec, so that a new stream goes on from the last one."""

    past: State = None

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        if state is None and self.past is not None and len(self.past.wav_BS) == len(wav_BS):
            state = self.past
        tokens_BAK, self.past = self.codec.encode(wav_BS, state)
        return tokens_BAK, self.past


class PadsSound(BrokenAudio):
    """Accepts parts of tokens."""

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        missing = -wav_BS.shape[-1] % int(self.spec.sample_rate / self.spec.token_rate)
        return self.codec.encode(torch.nn.functional.pad(wav_BS, (0, missing)), state)


class HalfTokens(BrokenAudio):
    """Tokens of 32 bits."""

    def encode(self, wav_BS: Tensor, state: State = None) -> tuple[Tensor, State]:
        tokens_BAK, state = self.codec.encode(wav_BS, state)
        return tokens_BAK.int(), state


class LoudSilence(BrokenAudio):
    """The tokens of silence are those of some sound."""

    def __init__(self, codec: AudioCodec) -> None:
        super().__init__(codec)
        self.silence_K = codec.encode(0.3 * torch.sin(torch.arange(1920 * 4) / 20)[None])[0][0, -1]


class ForeignTables(BrokenAudio):
    """Tables of fewer entries than the tokens have."""

    def __init__(self, codec: AudioCodec) -> None:
        super().__init__(codec)
        self.codebook = Codebook(codec.codebook.tables_KVD[:, : codec.spec.codebook_size // 2])


class BrokenVideo:
    """Passes everything on; subclasses spoil one thing."""

    def __init__(self, codec: VideoCodec) -> None:
        self.codec, self.spec = codec, codec.spec

    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        return self.codec.encode(frames_BPHWC, state)

    def decode(self, latents_BFHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        return self.codec.decode(latents_BFHWC, state)

    def encode_picture(self, picture_BHWC: Tensor) -> Tensor:
        return self.codec.encode_picture(picture_BHWC)


class SeesAhead(BrokenVideo):
    """Each latent holds the first frame of the next one instead of its own."""

    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        return self.codec.encode(frames_BPHWC.roll(-1, 1), state)


class ShowsAhead(BrokenVideo):
    """The last frame of a latent is the first one of the next."""

    def decode(self, latents_BFHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        frames_BPHWC, state = self.codec.decode(latents_BFHWC, state)
        return frames_BPHWC.roll(-1, 1), state


class MixesFaces(BrokenVideo):
    """Latents are centred over the batch."""

    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        latents_BFHWC, state = self.codec.encode(frames_BPHWC, state)
        return latents_BFHWC - 0.1 * latents_BFHWC.mean(0), state


class ForgetsFaces(BrokenVideo):
    """Every piece starts cold."""

    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        return self.codec.encode(frames_BPHWC)

    def decode(self, latents_BFHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        return self.codec.decode(latents_BFHWC)


class OverwritesFaces(BrokenVideo):
    """The state is one object that each call changes."""

    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        box: dict[str, Any] = {"state": None} if state is None else state
        latents_BFHWC, box["state"] = self.codec.encode(frames_BPHWC, box["state"])
        return latents_BFHWC, box


class ClaimsToBeWarm(BrokenVideo):
    """Says that a cold start is as good as a running encoder at once."""

    def __init__(self, codec: VideoCodec) -> None:
        super().__init__(codec)
        self.spec = replace(codec.spec, warm_latents=0)


class PadsFaces(BrokenVideo):
    """Accepts parts of latents."""

    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        missing = -frames_BPHWC.shape[1] % self.spec.frames_per_latent
        still = frames_BPHWC[:, -1:].expand(-1, missing, -1, -1, -1)
        return self.codec.encode(torch.cat((frames_BPHWC, still), 1), state)


class FloatFrames(BrokenVideo):
    """Frames that are no bytes."""

    def decode(self, latents_BFHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        frames_BPHWC, state = self.codec.decode(latents_BFHWC, state)
        return frames_BPHWC.float(), state
