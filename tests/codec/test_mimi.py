"""Mimi in streams is the library's own Mimi offline; its tables are what the decoder hears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from avatar_lab.codec.mimi import Mimi
from tests.codec.audio_promises import AudioSubject
from tests.codec.comparison import SOUND, assert_close
from tests.codec.tiny_networks import mimi_folder, mimi_network

pytestmark = pytest.mark.ci


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mimi_folder(tmp_path_factory.mktemp("mimi"))


@pytest.fixture(scope="module")
def codec(folder: Path) -> Mimi:
    return Mimi.load(source=folder, num_codebooks=4)


@pytest.fixture(scope="module")
def network() -> Any:
    return mimi_network().requires_grad_(False)


def test_weights_in_the_published_layout_give_the_library_s_tokens_and_sound(
    folder: Path, codec: Mimi, network: Any
) -> None:
    """Over more than one internal piece of 125 tokens, and over 40 times the window of attention."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert {"encoder.layers.0.conv.weight", "downsample.conv.weight", "upsample.conv.weight"} <= set(file.keys())
    wav_BS = AudioSubject(codec=codec, warm_tokens=0).sound(130)
    tokens_BAK, _ = codec.encode(wav_BS)
    assert torch.equal(tokens_BAK, network.encode(wav_BS[:, None], num_quantizers=4).audio_codes.mT)
    sound_BS = network.decode(tokens_BAK.mT).audio_values[:, 0]
    assert sound_BS.std() > 0.01
    assert_close(codec.decode(tokens_BAK)[0], sound_BS, SOUND / 10)


def test_first_codebooks_are_those_of_a_longer_code(folder: Path, codec: Mimi) -> None:
    wav_BS = AudioSubject(codec=codec, warm_tokens=0).sound(10)
    whole = Mimi.load(source=folder, num_codebooks=6)
    assert torch.equal(whole.encode(wav_BS)[0][..., :4], codec.encode(wav_BS)[0])
    assert whole.spec.fingerprint != codec.spec.fingerprint


def test_sums_of_table_rows_are_the_decoder_s_input(codec: Mimi, network: Any) -> None:
    """Semantic and acoustic codebooks go through output projections of their own; both are in the tables."""
    tokens_BAK = AudioSubject(codec=codec, warm_tokens=0).tokens(50)
    latent_BAD = network.quantizer.decode(tokens_BAK.mT).mT
    assert_close(codec.codebook.embed(tokens_BAK) * codec.embedding_scale, latent_BAD, 1e-5 * float(latent_BAD.max()))


def test_one_scalar_gives_unit_variance_where_entries_are_used_as_in_training(codec: Mimi, network: Any) -> None:
    groups = network.quantizer
    books = [groups.semantic_residual_vector_quantizer, groups.acoustic_residual_vector_quantizer]
    usage = [layer.codebook.cluster_usage for group in books for layer in group.layers][:4]
    rng = torch.Generator().manual_seed(0)
    drawn = torch.stack([torch.multinomial(share, 20_000, replacement=True, generator=rng) for share in usage], dim=-1)
    assert float(codec.codebook.embed(drawn).square().mean().sqrt()) == pytest.approx(1, abs=0.02)


def test_context_of_the_decoder_is_exactly_its_receptive_field(codec: Mimi, network: Any) -> None:
    """Strides and kernels are the published ones, so this is the published receptive field: 8 frames of 40 ms."""
    assert codec.decoder_context == 8
    seanet = network.decoder.decoder_seanet.double()
    frames_BDR = torch.randn(1, 32, 20, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    first_new = 12 * 960
    before = seanet(frames_BDR)[0, 0, first_new:]
    for frame, matters in ((12 - 8, True), (12 - 9, False)):
        changed_BDR = frames_BDR.clone()
        changed_BDR[..., frame] += 1
        assert bool((seanet(changed_BDR)[0, 0, first_new:] != before).any()) is matters
    seanet.float()


def test_silence_settles_to_its_tokens(codec: Mimi) -> None:
    """With biases silence is no fixed point of zeros: it takes some tokens, then it stays."""
    tokens_BAK, _ = codec.encode(torch.zeros(1, 60 * codec.samples_per_token))
    assert (tokens_BAK[0, 15:] == codec.silence_K).all()
    assert (tokens_BAK[0, 0] != codec.silence_K).any()


def test_neither_inference_mode_nor_mixed_precision_changes_tokens(codec: Mimi) -> None:
    wav_BS = AudioSubject(codec=codec, warm_tokens=0).sound(8)
    tokens_BAK, _ = codec.encode(wav_BS)
    sound_BS, _ = codec.decode(tokens_BAK)
    half = 4 * codec.samples_per_token
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        first_BAK, state = codec.encode(wav_BS[:, :half])
        second_BAK, _ = codec.encode(wav_BS[:, half:], state)
        heard_BS, _ = codec.decode(tokens_BAK)
    assert torch.equal(torch.cat([first_BAK, second_BAK], 1), tokens_BAK)
    assert heard_BS.dtype == torch.float32
    assert_close(heard_BS, sound_BS, SOUND)


@pytest.mark.parametrize("num_codebooks", [1, 7])
def test_impossible_numbers_of_codebooks_are_refused(network: Any, num_codebooks: int) -> None:
    with pytest.raises(ValueError, match="must exceed the 1 semantic ones and be at most 6"):
        Mimi(network, num_codebooks=num_codebooks, fingerprint="x")


def test_a_network_that_looks_ahead_is_refused() -> None:
    network = mimi_network()
    network.config.use_causal_conv = False
    with pytest.raises(ValueError, match="looks into the future"):
        Mimi(network, num_codebooks=4, fingerprint="x")
