"""Published codecs whose network lies on a GPU: what goes in and comes out lies on the CPU, and is the same."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from avatar_lab.codec.mimi import Mimi
from avatar_lab.codec.wan_vae import WanVae
from tests.codec.tiny_networks import mimi_network, wan_network
from tests.pretend_gpu import pretend_gpu


def mimi_results(network: Any) -> list[Tensor]:
    """Tables and silence, and of two pieces of sound tokens and sound again."""
    codec = Mimi(network, num_codebooks=4, fingerprint="tiny")
    wav_BS = 0.1 * torch.randn(1, 8 * codec.samples_per_token, generator=torch.Generator().manual_seed(0))
    found, encoder, decoder = [codec.silence_K, codec.codebook.tables_KVD], None, None
    for piece_BS in wav_BS.split(3 * codec.samples_per_token, dim=1):
        tokens_BAK, encoder = codec.encode(piece_BS, encoder)
        sound_BS, decoder = codec.decode(tokens_BAK, decoder)
        found += [tokens_BAK, sound_BS]
    return found


def wan_results(network: Any) -> list[Tensor]:
    """Of two pieces of video latents and frames again; and of a picture."""
    codec = WanVae(network, height=32, width=32, fingerprint="tiny")
    rng = torch.Generator().manual_seed(0)
    frames_BPHWC = torch.randint(0, 255, (1, 8, 32, 32, 3), generator=rng, dtype=torch.uint8)
    found, encoder, decoder = [codec.encode_picture(frames_BPHWC[:, 0])], None, None
    for piece_BPHWC in frames_BPHWC.split(4, dim=1):
        latents_BFHWC, encoder = codec.encode(piece_BPHWC, encoder)
        again_BPHWC, decoder = codec.decode(latents_BFHWC, decoder)
        found += [latents_BFHWC, again_BPHWC]
    return found


@pytest.mark.parametrize(("make", "results"), [(mimi_network, mimi_results), (wan_network, wan_results)])
def test_the_same_from_a_gpu(
    make: Callable[[], Any], results: Callable[[Any], list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make()
    here = results(deepcopy(network))
    with pretend_gpu(monkeypatch), torch.no_grad():
        there = results(network.to("cuda"))
    for one, other in zip(here, there, strict=True):
        assert other.device == torch.device("cpu")
        assert torch.equal(one, other)
