"""The embedded audio codec: streaming equals offline, causal, batch-independent, silent where it is silent."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pystoi import stoi

from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.layout import Layout
from avatar_lab.objective.audio_codec import AudioCodecObjective
from avatar_lab.world.utterances import Utterances

TOKEN = Layout().samples_per_token
STOI_MEAN = 0.85


def tiny() -> TinyAudio:
    """A random codec whose decoder is loud enough to hear."""
    torch.manual_seed(0)
    codec = TinyAudio(
        num_mels=16, num_codebooks=3, codebook_size=16, embedding_width=8, width=24, frame_width=12
    ).eval()
    with torch.no_grad():
        codec.read_out.bias[:16] = 3.0
        codec.read_out.bias[-1] = 2.0
    return codec


def speech(tokens: int, seed: int = 0, size: int = 2) -> torch.Tensor:
    data = Utterances(layout=Layout(), size=size, num_tokens=tokens, seed=seed)
    return torch.stack([data[i]["wav_S"] for i in range(size)])


@pytest.mark.parametrize("chunks", [[1] * 14, [4, 4, 4, 2], [3, 0, 11], [13, 1]])
def test_streaming_equals_offline(chunks: list[int]) -> None:
    codec, wav_BS = tiny(), speech(14)
    offline_BAK, _ = codec.encode(wav_BS)
    sound_BS, _ = codec.decode(offline_BAK)
    assert sound_BS.abs().max() > 1e-3
    encoder = decoder = None
    tokens, sounds, first = [], [], 0
    for chunk in chunks:
        piece = wav_BS[:, first * TOKEN : (first + chunk) * TOKEN]
        token_BAK, encoder = codec.encode(piece, encoder)
        sound, decoder = codec.decode(token_BAK, decoder)
        tokens.append(token_BAK)
        sounds.append(sound)
        first += chunk
    assert torch.equal(torch.cat(tokens, 1), offline_BAK)
    assert torch.allclose(torch.cat(sounds, 1), sound_BS, atol=2e-4)


def test_tokens_depend_on_their_own_80_ms_and_the_past_only() -> None:
    codec, wav_BS = tiny(), speech(14)
    before_BAK, _ = codec.encode(wav_BS)
    for token in (3, 8, 13):
        changed_BS = wav_BS.clone()
        changed_BS[:, token * TOKEN :] += 0.1 * torch.randn(
            2, (14 - token) * TOKEN, generator=torch.Generator().manual_seed(1)
        )
        after_BAK, _ = codec.encode(changed_BS)
        assert torch.equal(after_BAK[:, :token], before_BAK[:, :token])
        assert not torch.equal(after_BAK[:, token:], before_BAK[:, token:])


def test_sound_depends_on_its_own_token_and_the_past_only() -> None:
    codec = tiny()
    tokens_BAK = torch.randint(0, 16, (1, 12, 3), generator=torch.Generator().manual_seed(0))
    changed_BAK = tokens_BAK.clone()
    changed_BAK[:, 7:] = (changed_BAK[:, 7:] + 1) % 16
    before, after = codec.decode(tokens_BAK)[0], codec.decode(changed_BAK)[0]
    assert torch.equal(before[:, : 7 * TOKEN], after[:, : 7 * TOKEN])
    assert not torch.allclose(before[:, 7 * TOKEN : 8 * TOKEN], after[:, 7 * TOKEN : 8 * TOKEN])


def test_conversations_in_a_batch_do_not_meet() -> None:
    codec, wav_BS = tiny(), speech(10, size=3)
    tokens_BAK, _ = codec.encode(wav_BS)
    sound_BS, _ = codec.decode(tokens_BAK)
    for row in range(3):
        alone_BAK, _ = codec.encode(wav_BS[row : row + 1])
        assert torch.equal(alone_BAK[0], tokens_BAK[row])
        assert torch.allclose(codec.decode(alone_BAK)[0][0], sound_BS[row], atol=2e-4)


def test_bad_input_is_refused() -> None:
    codec = tiny()
    with pytest.raises(ValueError, match="whole tokens"):
        codec.encode(torch.zeros(1, TOKEN + 1))
    with pytest.raises(ValueError, match="whole tokens"):
        codec.encode(torch.zeros(TOKEN))
    with pytest.raises(ValueError, match="decode needs"):
        codec.decode(torch.zeros(1, 4, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"lie in 0\.\.15"):
        codec.decode(torch.full((1, 4, 3), 16))
    with pytest.raises(ValueError, match="frames_per_token"):
        TinyAudio(frames_per_token=7)


def test_embedding_has_the_shape_of_the_specification() -> None:
    codec = tiny()
    tokens_BAK, _ = codec.encode(speech(6))
    assert tokens_BAK.dtype == torch.int64
    assert tokens_BAK.shape == (2, 6, codec.spec.num_codebooks)
    assert codec.codebook.embed(tokens_BAK).shape == (2, 6, codec.spec.embedding_width)
    assert codec.silence_K.shape == (codec.spec.num_codebooks,)


def test_file_round_trip_and_refusals(tmp_path: Path) -> None:
    codec, wav_BS = tiny(), speech(6)
    path, again_path = tmp_path / "codec.safetensors", tmp_path / "again.safetensors"
    codec.save(path)
    again = TinyAudio.load(path)
    again.save(again_path)
    twice = TinyAudio.load(again_path)
    assert twice.spec == again.spec == codec.spec
    assert torch.equal(twice.encode(wav_BS)[0], again.encode(wav_BS)[0])
    assert torch.equal(again.codebook.tables_KVD, codec.codebook.tables_KVD)
    assert not any(parameter.requires_grad for parameter in again.parameters())

    with torch.no_grad():
        codec.codebook.tables_KVD[1, 3] = codec.codebook.tables_KVD[1, 5]
    codec.save(path)
    with pytest.raises(ValueError, match="codebook 1"):
        TinyAudio.load(path)
    path.write_bytes(again_path.read_bytes()[:-2] + b"00")
    with pytest.raises(ValueError, match="fingerprint"):
        TinyAudio.load(path)
    path.write_bytes(b"not a codec")
    with pytest.raises(ValueError, match="damaged"):
        TinyAudio.load(path)
    with pytest.raises(ValueError, match="no weights"):
        TinyAudio.load(tmp_path / "missing.safetensors")


def test_fingerprint_follows_configuration_and_weights() -> None:
    codec = tiny()
    before = codec.spec.fingerprint
    assert tiny().spec.fingerprint == before
    with torch.no_grad():
        codec.read_out.bias[0] += 1
    assert codec.spec.fingerprint != before
    assert TinyAudio(width=24).to("meta").spec.fingerprint == "meta"


def test_training_lowers_the_loss_and_is_repeatable() -> None:
    data = Utterances(layout=Layout(), size=3, num_tokens=12, seed=0)
    batch = torch.utils.data.default_collate([data[i] for i in range(3)])

    def train() -> tuple[TinyAudio, list[float]]:
        codec = tiny().train()
        codec.quantizer.warmup_updates = 4
        objective, rng = AudioCodecObjective(), torch.Generator().manual_seed(0)
        optimiser = torch.optim.AdamW(codec.parameters(), lr=5e-3)
        totals = []
        for _ in range(16):
            losses = objective(codec, batch, rng)
            optimiser.zero_grad()
            losses.total.backward()
            optimiser.step()
            totals.append(float(losses.total.detach()))
        return codec, totals

    (first, totals), (second, _) = train(), train()
    assert totals[-1] < 0.8 * totals[0]
    assert first.spec.fingerprint == second.spec.fingerprint


# The shipped weights -------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def shipped() -> TinyAudio:
    return TinyAudio.load()


def test_shipped_silence(shipped: TinyAudio) -> None:
    quiet_BS = 3e-5 * torch.randn(1, 40 * TOKEN, generator=torch.Generator().manual_seed(0))
    for wav_BS in (torch.zeros_like(quiet_BS), quiet_BS):
        tokens_BAK, _ = shipped.encode(wav_BS)
        assert (tokens_BAK == shipped.silence_K).all()
        assert shipped.decode(tokens_BAK)[0].abs().max() < 1e-3


def test_shipped_speed_and_size(shipped: TinyAudio) -> None:
    wav_BS, encoder, decoder = speech(48, size=1), None, None
    seconds = []
    for block in range(12):
        start = time.perf_counter()
        tokens_BAK, encoder = shipped.encode(wav_BS[:, block * 4 * TOKEN : (block + 1) * 4 * TOKEN], encoder)
        _, decoder = shipped.decode(tokens_BAK, decoder)
        seconds.append(time.perf_counter() - start)
    assert np.median(seconds) < 0.06, "four tokens in and out; under 0.015 s on an idle core"
    assert TinyAudio.shipped_weights().stat().st_size < 1.5e6


@pytest.mark.ci
def test_shipped_stoi_on_held_out_voices(shipped: TinyAudio) -> None:
    wav_BS = speech(64, seed=9001, size=48)
    sound_BS = shipped.decode(shipped.encode(wav_BS)[0])[0]
    scores = [
        stoi(wav.numpy(), sound.numpy(), shipped.sample_rate)
        for wav, sound in zip(wav_BS, sound_BS, strict=True)
        if wav.square().mean().sqrt() > 0.005
    ]
    assert len(scores) > 30
    assert np.mean(scores) >= STOI_MEAN


@pytest.mark.ci
def test_shipped_embedding_has_unit_variance_over_speech(shipped: TinyAudio) -> None:
    wav_BS = speech(64, seed=9002, size=32)
    loud_BA = wav_BS.unflatten(1, (-1, TOKEN)).square().mean(-1) > 1e-5
    embedding_ND = shipped.codebook.embed(shipped.encode(wav_BS)[0])[loud_BA]
    assert 0.8 < float(embedding_ND.square().mean().sqrt()) < 1.25
