"""The audio codec's objective: finite on silence, weighted by band, blind to F0 where nothing is voiced."""

import pytest
import torch
from torch import Tensor

from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.layout import Layout
from avatar_lab.objective.audio_codec import AudioCodecObjective
from avatar_lab.world.utterances import Utterances


@pytest.fixture
def net() -> TinyAudio:
    torch.manual_seed(0)
    return TinyAudio(num_mels=16, num_codebooks=2, codebook_size=16, embedding_width=8, width=16, frame_width=8).eval()


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    data = Utterances(layout=Layout(), size=2, num_tokens=12, seed=0)
    return torch.utils.data.default_collate([data[i] for i in range(2)])


def test_one_value_per_sample_and_a_finite_gradient(net: TinyAudio, batch: dict[str, Tensor]) -> None:
    losses = AudioCodecObjective()(net, batch, torch.Generator().manual_seed(0))
    assert set(losses.weights) == set(losses.terms)
    assert all(term.shape == (2,) for term in losses.terms.values())
    losses.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_silence_has_no_pitch_or_spread_loss(net: TinyAudio, batch: dict[str, Tensor]) -> None:
    quiet = batch | {"wav_S": torch.zeros_like(batch["wav_S"])}
    losses = AudioCodecObjective()(net, quiet, torch.Generator().manual_seed(0))
    assert float(losses.terms["pitch"].detach().abs().sum()) == 0
    assert float(losses.terms["spread"].detach().abs().sum()) == 0
    assert torch.isfinite(losses.total)


def test_pitch_error_counts_in_voiced_frames_only(net: TinyAudio, batch: dict[str, Tensor]) -> None:
    def pitch(f0_R: Tensor) -> Tensor:
        changed = batch | {"f0_R": f0_R}
        return AudioCodecObjective()(net, changed, torch.Generator().manual_seed(0)).terms["pitch"].detach()

    voiced = batch["voicing_R"] > 0
    assert torch.equal(pitch(torch.where(voiced, batch["f0_R"], 77.0)), pitch(batch["f0_R"]))
    assert not torch.equal(pitch(torch.where(voiced, 77.0, batch["f0_R"])), pitch(batch["f0_R"]))


def test_evaluation_leaves_the_codebooks_alone(net: TinyAudio, batch: dict[str, Tensor]) -> None:
    before = net.codebook.tables_KVD.clone()
    net.quantizer.updates.fill_(1000)
    AudioCodecObjective()(net, batch, torch.Generator().manual_seed(0))
    assert torch.equal(net.codebook.tables_KVD, before)
    AudioCodecObjective()(net.train(), batch, torch.Generator().manual_seed(0))
    assert not torch.equal(net.codebook.tables_KVD, before)
