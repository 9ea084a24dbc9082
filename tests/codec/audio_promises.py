"""What every audio codec must keep.

B batch   S samples   A tokens   N tokens of any batch   K codebooks   V entries   D embedding width
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from avatar_lab.codec.protocol import AudioCodec
from tests.codec.comparison import SOUND, apart, assert_close, streamed

QUIET = 2e-3
"""Peak that counts as silence, -54 dB of full scale."""
_CHUNKS = ([1] * 20, [4, 4, 4, 4, 4], [3, 0, 2, 15], [19, 1])


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
    for chunks in _CHUNKS:
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
