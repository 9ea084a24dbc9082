"""Wan's autoencoder in streams is the library's own offline, after a still first frame that is thrown away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from avatar_lab.codec.wan_vae import WanVae
from tests.codec.comparison import assert_close
from tests.codec.tiny_networks import wan_folder, wan_network
from tests.codec.video_promises import VideoSubject

pytestmark = pytest.mark.ci


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wan_folder(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def codec(folder: Path) -> WanVae:
    return WanVae.load(source=folder, height=32, width=24)


@pytest.fixture(scope="module")
def network() -> Any:
    return wan_network().requires_grad_(False)


def statistics(network: Any) -> tuple[Tensor, Tensor]:
    mean_C, std_C = (torch.tensor(values) for values in (network.config.latents_mean, network.config.latents_std))
    return mean_C, std_C


def test_latents_are_the_library_s_after_the_first_frame_once_more(codec: WanVae, network: Any) -> None:
    frames_BPHWC = VideoSubject(codec=codec).frames(3)
    wan_BPHWC = torch.cat([frames_BPHWC[:, :1], frames_BPHWC], 1)
    offline = network.encode(wan_BPHWC.permute(0, 4, 1, 2, 3) / 127.5 - 1).latent_dist.mode()
    mean_C, std_C = statistics(network)
    normal_BFHWC = (offline.permute(0, 2, 3, 4, 1) - mean_C) / std_C
    assert normal_BFHWC.shape[1] == 1 + 3
    assert_close(codec.encode(frames_BPHWC)[0], normal_BFHWC[:, 1:], 1e-5)
    assert_close(codec.encode_picture(frames_BPHWC[:, 0]), normal_BFHWC[:, 0], 1e-5)


def test_frames_are_the_library_s_after_the_first_latent_once_more(codec: WanVae, network: Any) -> None:
    latents_BFHWC = VideoSubject(codec=codec).latents(3)
    mean_C, std_C = statistics(network)
    raw_BFHWC = torch.cat([latents_BFHWC[:, :1], latents_BFHWC], 1) * std_C + mean_C
    offline = network.decode(raw_BFHWC.permute(0, 4, 1, 2, 3)).sample.permute(0, 2, 3, 4, 1)
    assert offline.shape[1] == 1 + 3 * 4
    levels_BPHWC = ((offline[:, 1:] + 1) * 127.5).round()
    assert levels_BPHWC.std() > 20
    assert_close(codec.decode(latents_BFHWC)[0], levels_BPHWC, 1)


def test_warm_latents_are_exactly_the_temporal_receptive_field(codec: WanVae) -> None:
    late, warm = 2, codec.spec.warm_latents
    frames_BPHWC = VideoSubject(codec=codec).frames(late + warm + 2, batch=1)
    running_BFHWC, _ = codec.encode(frames_BPHWC)
    cold_BFHWC, _ = codec.encode(frames_BPHWC[:, late * 4 :])
    apart_F = (running_BFHWC[:, late:] - cold_BFHWC).abs().amax((0, 2, 3, 4))
    assert apart_F[warm - 1] > 0
    assert apart_F[warm:].max() == 0


def test_published_sizes(network: Any) -> None:
    with torch.device("meta"):
        published = type(network)()
    spec = WanVae(published, height=256, width=192, fingerprint="x").spec
    assert (spec.frames_per_latent, spec.channels, spec.grid_height, spec.grid_width) == (4, 16, 32, 24)
    assert spec.warm_latents == 28


def test_neither_inference_mode_nor_mixed_precision_changes_latents(codec: WanVae) -> None:
    frames_BPHWC = VideoSubject(codec=codec).frames(2)
    latents_BFHWC, _ = codec.encode(frames_BPHWC)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        first_BFHWC, state = codec.encode(frames_BPHWC[:, :4])
        second_BFHWC, _ = codec.encode(frames_BPHWC[:, 4:], state)
    assert_close(torch.cat([first_BFHWC, second_BFHWC], 1), latents_BFHWC, 1e-5)


def test_fingerprint_tells_picture_sizes_apart(folder: Path, codec: WanVae) -> None:
    """Stored latents are found by fingerprint, and latents of other sizes are other latents."""
    assert WanVae.load(source=folder, height=32, width=24).spec == codec.spec
    assert WanVae.load(source=folder, height=24, width=32).spec.fingerprint != codec.spec.fingerprint


def test_what_does_not_fit_is_refused(codec: WanVae, network: Any) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        WanVae(network, height=36, width=32, fingerprint="x")
    with pytest.raises(ValueError, match="uint8"):
        codec.encode(torch.zeros(1, 4, 32, 24, 3))
    with pytest.raises(ValueError, match="expected"):
        codec.encode_picture(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
    folded = type(network)(base_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[True], patch_size=2)
    with pytest.raises(ValueError, match=r"give Wan 2\.1's"):
        WanVae(folded, height=32, width=32, fingerprint="x")
    short = type(network)(base_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[True], z_dim=8)
    with pytest.raises(ValueError, match="each of 8 channels"):
        WanVae(short, height=32, width=32, fingerprint="x")
