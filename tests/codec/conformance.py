"""What every codec of this project must keep: ``failures`` names the promises of ``codec/protocol.py`` that one breaks.

Tokens are compared exactly. Sound and latents may differ by the rounding of single precision, because the length of a
piece decides in which order a convolution or a product adds up: by ``SOUND`` of full scale, by ``LATENT`` standard
deviations, by ``LEVELS`` of 255 in a frame.

    B batch   S samples   A tokens   K codebooks   P frames   F latents   H, W, C height, width, channels
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from avatar_lab.codec.protocol import AudioCodec, VideoCodec

SOUND = 2e-4
LATENT = 1e-4
LEVELS = 1
QUIET = 2e-3
"""Peak that counts as silence, -54 dB of full scale."""


@dataclass(frozen=True, kw_only=True)
class AudioSubject:
    """An audio codec under test; ``warm_tokens`` after which a late start agrees with one that has been running."""

    codec: AudioCodec
    warm_tokens: int

    @property
    def samples(self) -> int:
        """Samples per token."""
        return int(self.codec.spec.sample_rate / self.codec.spec.token_rate)

    def sound(self, tokens: int, *, batch: int = 2, seed: int = 0) -> Tensor:
        """Bursts of noise and tones (B, S), another one in each row."""
        rng = torch.Generator().manual_seed(seed)
        count = tokens * self.samples
        time_S = torch.arange(count) / self.codec.spec.sample_rate
        hertz_B = 100 + 300 * torch.rand(batch, 1, generator=rng)
        loud_BS = torch.rand(batch, 2 * tokens, generator=rng).repeat_interleave(-(-self.samples // 2), 1)[:, :count]
        noise_BS = 0.2 * torch.randn(batch, count, generator=rng)
        return loud_BS.square() * (0.4 * torch.sin(6.2832 * hertz_B * time_S) + noise_BS)

    def tokens(self, count: int, *, batch: int = 2, seed: int = 0) -> Tensor:
        """Any tokens (B, A, K)."""
        spec, rng = self.codec.spec, torch.Generator().manual_seed(seed)
        return torch.randint(0, spec.codebook_size, (batch, count, spec.num_codebooks), generator=rng)


@dataclass(frozen=True, kw_only=True)
class VideoSubject:
    """A video codec under test."""

    codec: VideoCodec

    def frames(self, latents: int, *, batch: int = 2, seed: int = 0) -> Tensor:
        """Noise in uint8 (B, P, H, W, 3), another one in each row."""
        spec, rng = self.codec.spec, torch.Generator().manual_seed(seed)
        shape = (batch, latents * spec.frames_per_latent, spec.frame_height, spec.frame_width, 3)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng)

    def latents(self, count: int, *, batch: int = 2, seed: int = 0) -> Tensor:
        """Normal noise (B, F, H, W, C)."""
        spec, rng = self.codec.spec, torch.Generator().manual_seed(seed)
        return torch.randn(batch, count, spec.grid_height, spec.grid_width, spec.channels, generator=rng)


def failures(checks: Sequence[Callable[[Any], None]], subject: AudioSubject | VideoSubject) -> set[str]:
    """Names of the checks that ``subject`` does not pass."""
    failed = set()
    for check in checks:
        try:
            check(subject)
        except (AssertionError, RuntimeError, pytest.fail.Exception):
            failed.add(check.__name__)
    return failed


Run = Callable[[Tensor, Any], tuple[Tensor, Any]]


def streamed(run: Run, whole: Tensor, chunks: Sequence[int], *, unit: int) -> Tensor:
    """``whole`` (B, units, ...) through ``run`` in pieces of ``chunks`` tokens or latents."""
    state, parts = None, []
    for piece in whole.split([unit * chunk for chunk in chunks], dim=1):
        part, state = run(piece, state)
        parts.append(part)
    return torch.cat(parts, dim=1)


def assert_close(left: Tensor, right: Tensor, tolerance: float) -> None:
    assert left.shape == right.shape
    assert apart(left, right) <= tolerance


def apart(left: Tensor, right: Tensor) -> float:
    return float((left.double() - right.double()).abs().max())


# Audio ---------------------------------------------------------------------------------------------------------------
_AUDIO_CHUNKS = ([1] * 20, [4, 4, 4, 4, 4], [3, 0, 2, 15], [19, 1])


def audio_has_the_shapes_of_its_specification(it: AudioSubject) -> None:
    codec, spec = it.codec, it.codec.spec
    wav_BS = it.sound(6)
    tokens_BAK, _ = codec.encode(wav_BS)
    assert tokens_BAK.shape == (2, 6, spec.num_codebooks)
    assert tokens_BAK.dtype == torch.int64
    assert 0 <= int(tokens_BAK.min()) <= int(tokens_BAK.max()) < spec.codebook_size
    assert len(tokens_BAK.unique()) > 1, "tokens say nothing"
    sound_BS, _ = codec.decode(tokens_BAK)
    assert sound_BS.shape == wav_BS.shape
    assert sound_BS.dtype == torch.float32
    assert 0 < float(sound_BS.abs().max()) <= 1
    assert len(spec.fingerprint) == 16


def audio_tables_hold_the_tokens(it: AudioSubject) -> None:
    """Embeddings are sums of rows, and tokens are read back: from sharp logits, and as nearest given the others."""
    spec, book = it.codec.spec, it.codec.codebook
    assert book.tables_KVD.shape == (spec.num_codebooks, spec.codebook_size, spec.embedding_width)
    tokens_NK = torch.cat([it.codec.encode(it.sound(10))[0].flatten(0, 1), it.tokens(20).flatten(0, 1)])
    clean_ND = book.embed(tokens_NK)
    rows = [table_VD[tokens_NK[:, index]] for index, table_VD in enumerate(book.tables_KVD)]
    assert_close(clean_ND, torch.stack(rows).sum(0), 1e-5 * float(clean_ND.abs().max()))
    sharp_NKV = 50.0 * torch.nn.functional.one_hot(tokens_NK, spec.codebook_size)
    assert torch.equal(book.snap(sharp_NKV), tokens_NK)
    assert_close(book.expected(sharp_NKV), clean_ND, 1e-4 * float(clean_ND.abs().max()))
    for index, table_VD in enumerate(book.tables_KVD):
        rest_ND = clean_ND - rows[index]
        distance_NV = torch.cdist((clean_ND - rest_ND).double(), table_VD.double())
        assert torch.equal(distance_NV.argmin(1), tokens_NK[:, index])
    logits_NKV = book.log_likelihood(clean_ND, torch.zeros(len(clean_ND)))
    assert torch.isfinite(logits_NKV).all()


def audio_streams_as_offline(it: AudioSubject) -> None:
    wav_BS = it.sound(20)
    tokens_BAK, _ = it.codec.encode(wav_BS)
    sound_BS, _ = it.codec.decode(tokens_BAK)
    for chunks in _AUDIO_CHUNKS:
        assert torch.equal(streamed(it.codec.encode, wav_BS, chunks, unit=it.samples), tokens_BAK)
        assert_close(streamed(it.codec.decode, tokens_BAK, chunks, unit=1), sound_BS, SOUND)


def audio_goes_on_from_a_state_more_than_once(it: AudioSubject) -> None:
    """A state is a value: going on from it leaves it as it was, and what the codec did elsewhere does not matter."""
    wav_BS, other_BS = it.sound(8), it.sound(8, seed=1)
    whole_BAK, _ = it.codec.encode(wav_BS)
    whole_BS, _ = it.codec.decode(whole_BAK)
    _, encoder = it.codec.encode(wav_BS[:, : 4 * it.samples])
    _, decoder = it.codec.decode(whole_BAK[:, :4])
    for _ in range(2):
        it.codec.decode(it.codec.encode(other_BS)[0])
        it.codec.encode(other_BS, encoder)
        it.codec.decode(it.tokens(4), decoder)
        assert torch.equal(it.codec.encode(wav_BS[:, 4 * it.samples :], encoder)[0], whole_BAK[:, 4:])
        assert_close(it.codec.decode(whole_BAK[:, 4:], decoder)[0], whole_BS[:, 4 * it.samples :], SOUND)
    assert torch.equal(it.codec.encode(wav_BS)[0], whole_BAK)


def audio_encoder_sees_no_future(it: AudioSubject) -> None:
    wav_BS = it.sound(14)
    before_BAK, _ = it.codec.encode(wav_BS)
    for token in (3, 8, 13):
        changed_BS = wav_BS.clone()
        changed_BS[:, token * it.samples :] = it.sound(14 - token, seed=1)
        after_BAK, _ = it.codec.encode(changed_BS)
        assert torch.equal(after_BAK[:, :token], before_BAK[:, :token])
        assert not torch.equal(after_BAK[:, token:], before_BAK[:, token:])


def audio_decoder_sees_no_future(it: AudioSubject) -> None:
    tokens_BAK = it.tokens(12)
    before_BS, _ = it.codec.decode(tokens_BAK)
    for token in (1, 7, 11):
        changed_BAK = tokens_BAK.clone()
        changed_BAK[:, token:] = (changed_BAK[:, token:] + 1) % it.codec.spec.codebook_size
        after_BS, _ = it.codec.decode(changed_BAK)
        edge = token * it.samples
        assert_close(after_BS[:, :edge], before_BS[:, :edge], SOUND / 10)
        assert apart(after_BS[:, edge:], before_BS[:, edge:]) > SOUND


def audio_rows_do_not_meet(it: AudioSubject) -> None:
    wav_BS = it.sound(10, batch=3)
    tokens_BAK, encoder = it.codec.encode(wav_BS)
    sound_BS, decoder = it.codec.decode(tokens_BAK)
    later_BAK, _ = it.codec.encode(wav_BS, encoder)
    later_BS, _ = it.codec.decode(later_BAK, decoder)
    for row in range(3):
        alone_BAK, encoder = it.codec.encode(wav_BS[row : row + 1])
        alone_BS, decoder = it.codec.decode(alone_BAK)
        assert torch.equal(alone_BAK[0], tokens_BAK[row])
        assert_close(alone_BS[0], sound_BS[row], SOUND)
        alone_BAK, _ = it.codec.encode(wav_BS[row : row + 1], encoder)
        assert torch.equal(alone_BAK[0], later_BAK[row])
        assert_close(it.codec.decode(alone_BAK, decoder)[0][0], later_BS[row], SOUND)


def audio_late_start_catches_up(it: AudioSubject) -> None:
    late = 5
    wav_BS = it.sound(late + it.warm_tokens + 6)
    running_BAK, _ = it.codec.encode(wav_BS)
    cold_BAK, _ = it.codec.encode(wav_BS[:, late * it.samples :])
    assert torch.equal(cold_BAK[:, it.warm_tokens :], running_BAK[:, late + it.warm_tokens :])


def audio_silence_is_lasting_and_quiet(it: AudioSubject) -> None:
    spec = it.codec.spec
    assert it.codec.silence_K.shape == (spec.num_codebooks,)
    assert it.codec.silence_K.dtype == torch.int64
    tokens_BAK, _ = it.codec.encode(torch.zeros(1, (it.warm_tokens + 20) * it.samples))
    assert (tokens_BAK[:, it.warm_tokens :] == it.codec.silence_K).all()
    sound_BS, _ = it.codec.decode(it.codec.silence_K.expand(1, it.warm_tokens + 20, -1))
    assert float(sound_BS[:, it.warm_tokens * it.samples :].abs().max()) < QUIET


def audio_refuses_what_it_cannot_do(it: AudioSubject) -> None:
    spec = it.codec.spec
    for bad_BS in (torch.zeros(1, it.samples + 1), torch.zeros(1, it.samples - 1), torch.zeros(it.samples)):
        with pytest.raises(ValueError, match="whole tokens"):
            it.codec.encode(bad_BS)
    with pytest.raises(ValueError, match="decode needs"):
        it.codec.decode(torch.zeros(1, 4, spec.num_codebooks + 1, dtype=torch.int64))
    for outside in (-1, spec.codebook_size):
        with pytest.raises(ValueError, match="tokens must lie in"):
            it.codec.decode(torch.full((1, 4, spec.num_codebooks), outside))


AUDIO_CHECKS = (
    audio_has_the_shapes_of_its_specification,
    audio_tables_hold_the_tokens,
    audio_streams_as_offline,
    audio_goes_on_from_a_state_more_than_once,
    audio_encoder_sees_no_future,
    audio_decoder_sees_no_future,
    audio_rows_do_not_meet,
    audio_late_start_catches_up,
    audio_silence_is_lasting_and_quiet,
    audio_refuses_what_it_cannot_do,
)

# Video ---------------------------------------------------------------------------------------------------------------
_VIDEO_CHUNKS = ([1] * 5, [2, 3], [4, 1])


def video_has_the_shapes_of_its_specification(it: VideoSubject) -> None:
    spec, frames_BPHWC = it.codec.spec, it.frames(3)
    grid = (spec.grid_height, spec.grid_width, spec.channels)
    latents_BFHWC, _ = it.codec.encode(frames_BPHWC)
    assert latents_BFHWC.shape == (2, 3, *grid)
    picture_BHWC = it.codec.encode_picture(frames_BPHWC[:, 0])
    assert picture_BHWC.shape == (2, *grid)
    for found in (latents_BFHWC, picture_BHWC):
        assert found.dtype == torch.float32
        assert torch.isfinite(found).all()
    assert apart(latents_BFHWC[:, 1], latents_BFHWC[:, 2]) > 100 * LATENT, "latents say nothing"
    decoded_BPHWC, _ = it.codec.decode(latents_BFHWC)
    assert decoded_BPHWC.shape == frames_BPHWC.shape
    assert decoded_BPHWC.dtype == torch.uint8
    assert len(decoded_BPHWC.unique()) > 10
    assert len(spec.fingerprint) == 16


def video_streams_as_offline(it: VideoSubject) -> None:
    frames_BPHWC, unit = it.frames(5), it.codec.spec.frames_per_latent
    latents_BFHWC, _ = it.codec.encode(frames_BPHWC)
    decoded_BPHWC, _ = it.codec.decode(latents_BFHWC)
    for chunks in _VIDEO_CHUNKS:
        assert_close(streamed(it.codec.encode, frames_BPHWC, chunks, unit=unit), latents_BFHWC, LATENT)
        assert_close(streamed(it.codec.decode, latents_BFHWC, chunks, unit=1), decoded_BPHWC, LEVELS)


def video_goes_on_from_a_state_more_than_once(it: VideoSubject) -> None:
    """A state is a value: going on from it leaves it as it was; pictures and other streams have states of their own."""
    frames_BPHWC, other_BPHWC, half = it.frames(4), it.frames(4, seed=1), 2 * it.codec.spec.frames_per_latent
    whole_BFHWC, _ = it.codec.encode(frames_BPHWC)
    whole_BPHWC, _ = it.codec.decode(whole_BFHWC)
    _, encoder = it.codec.encode(frames_BPHWC[:, :half])
    _, decoder = it.codec.decode(whole_BFHWC[:, :2])
    for _ in range(2):
        it.codec.decode(it.codec.encode(other_BPHWC)[0])
        it.codec.encode_picture(other_BPHWC[:, 0])
        it.codec.encode(other_BPHWC, encoder)
        it.codec.decode(it.latents(3), decoder)
        assert_close(it.codec.encode(frames_BPHWC[:, half:], encoder)[0], whole_BFHWC[:, 2:], LATENT)
        assert_close(it.codec.decode(whole_BFHWC[:, 2:], decoder)[0], whole_BPHWC[:, half:], LEVELS)
    assert_close(it.codec.encode(frames_BPHWC)[0], whole_BFHWC, LATENT)


def video_encoder_sees_no_future(it: VideoSubject) -> None:
    """Frames change their own latent, down to its last frame, and none before."""
    frames_BPHWC, per = it.frames(5), it.codec.spec.frames_per_latent
    before_BFHWC, _ = it.codec.encode(frames_BPHWC)
    for latent in range(1, 5):
        for first in (latent * per, (latent + 1) * per - 1):
            changed_BPHWC = frames_BPHWC.clone()
            changed_BPHWC[:, first:] = 255 - changed_BPHWC[:, first:]
            after_BFHWC, _ = it.codec.encode(changed_BPHWC)
            assert_close(after_BFHWC[:, :latent], before_BFHWC[:, :latent], LATENT / 10)
            assert apart(after_BFHWC[:, latent], before_BFHWC[:, latent]) > 10 * LATENT


def video_decoder_sees_no_future(it: VideoSubject) -> None:
    latents_BFHWC, per = it.latents(5), it.codec.spec.frames_per_latent
    before_BPHWC, _ = it.codec.decode(latents_BFHWC)
    for latent in range(1, 5):
        changed_BFHWC = latents_BFHWC.clone()
        changed_BFHWC[:, latent:] = -changed_BFHWC[:, latent:]
        after_BPHWC, _ = it.codec.decode(changed_BFHWC)
        assert torch.equal(after_BPHWC[:, : latent * per], before_BPHWC[:, : latent * per])
        assert apart(after_BPHWC[:, latent * per :], before_BPHWC[:, latent * per :]) > LEVELS


def video_rows_do_not_meet(it: VideoSubject) -> None:
    frames_BPHWC, latents_BFHWC = it.frames(3, batch=3), it.latents(3, batch=3)
    encoded_BFHWC, encoder = it.codec.encode(frames_BPHWC)
    decoded_BPHWC, decoder = it.codec.decode(latents_BFHWC)
    later_BFHWC, _ = it.codec.encode(frames_BPHWC, encoder)
    later_BPHWC, _ = it.codec.decode(latents_BFHWC, decoder)
    pictures_BHWC = it.codec.encode_picture(frames_BPHWC[:, 0])
    for row in range(3):
        own = slice(row, row + 1)
        alone_BFHWC, encoder = it.codec.encode(frames_BPHWC[own])
        alone_BPHWC, decoder = it.codec.decode(latents_BFHWC[own])
        assert_close(alone_BFHWC, encoded_BFHWC[own], LATENT)
        assert_close(alone_BPHWC, decoded_BPHWC[own], LEVELS)
        assert_close(it.codec.encode(frames_BPHWC[own], encoder)[0], later_BFHWC[own], LATENT)
        assert_close(it.codec.decode(latents_BFHWC[own], decoder)[0], later_BPHWC[own], LEVELS)
        assert_close(it.codec.encode_picture(frames_BPHWC[own, 0]), pictures_BHWC[own], LATENT)


def video_late_start_catches_up(it: VideoSubject) -> None:
    """Cold and running encoders agree after ``warm_latents``, and not because the past never mattered."""
    spec, late = it.codec.spec, 2
    frames_BPHWC = it.frames(late + spec.warm_latents + 2, batch=1)
    running_BFHWC, _ = it.codec.encode(frames_BPHWC)
    cold_BFHWC, _ = it.codec.encode(frames_BPHWC[:, late * spec.frames_per_latent :])
    assert_close(cold_BFHWC[:, spec.warm_latents :], running_BFHWC[:, late + spec.warm_latents :], LATENT)
    if spec.warm_latents:
        assert apart(cold_BFHWC[:, : spec.warm_latents], running_BFHWC[:, late : late + spec.warm_latents]) > LATENT


def video_refuses_what_it_cannot_do(it: VideoSubject) -> None:
    spec, frames_BPHWC = it.codec.spec, it.frames(1)
    for count in {1, spec.frames_per_latent - 1, spec.frames_per_latent + 1} - {spec.frames_per_latent, 0}:
        with pytest.raises(ValueError, match="not whole latents"):
            it.codec.encode(frames_BPHWC[:, :1].expand(-1, count, -1, -1, -1))
    with pytest.raises(ValueError, match="expected"):
        it.codec.encode(frames_BPHWC[:, :, : spec.frame_height // 2])
    with pytest.raises(ValueError, match="expected"):
        it.codec.decode(torch.zeros(1, 1, spec.grid_height, spec.grid_width, spec.channels + 1))


VIDEO_CHECKS = (
    video_has_the_shapes_of_its_specification,
    video_streams_as_offline,
    video_goes_on_from_a_state_more_than_once,
    video_encoder_sees_no_future,
    video_decoder_sees_no_future,
    video_rows_do_not_meet,
    video_late_start_catches_up,
    video_refuses_what_it_cannot_do,
)
