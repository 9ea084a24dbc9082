"""Stages ``codec`` and ``reader``: the loss falls, only the trained role moves, all randomness from one generator."""

import pytest
import torch

from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.layout import Layout
from avatar_lab.objective.audio_codec import AudioCodecObjective
from avatar_lab.objective.pixel_reader import PixelReaderObjective
from avatar_lab.objective.video_codec import VideoCodecObjective
from avatar_lab.perception.pixel_reader import READ_CHANNELS, PixelReader
from avatar_lab.stage.codec import CodecStage
from avatar_lab.stage.reader import ReaderStage
from avatar_lab.world.clips import FaceClips
from avatar_lab.world.tracks import FACE_CHANNELS
from avatar_lab.world.utterances import Utterances


def small_codec() -> TinyVideo:
    torch.manual_seed(0)
    return TinyVideo(
        encoder_widths=(8, 8, 16),
        places=3,
        summary=8,
        decoder_widths=(16, 16, 8, 8),
        decoder_blocks=(1, 1, 1, 1),
        channels=4,
    )


def clip_batch(num: int = 4) -> dict[str, torch.Tensor]:
    clips = FaceClips(num_clips=num, num_frames=8, fps=25.0, seed=0)
    items = [clips[i] for i in range(num)]
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def codec_stage() -> CodecStage:
    objective = VideoCodecObjective(
        max_noise=0.1,
        absolute=0.1,
        gradient=0.05,
        temporal=0.1,
        outlier=2e-5,
        hint=0.02,
        hint_units=[1.0] * len(FACE_CHANNELS),
    )
    return CodecStage(name="tiny_video", codec=small_codec().train(), objective=objective)


def test_codec_stage_learns() -> None:
    stage, batch = codec_stage(), clip_batch()
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(stage.roles["codec"].parameters(), lr=1e-2)
    psnrs = []
    for step in range(40):
        for role, losses in stage.turns(batch, step, rng):
            assert role == "codec"
            assert all(term.shape == (4,) for term in losses.terms.values())
            losses.total.backward()
            optimizer.step()
            optimizer.zero_grad()
            psnrs.append(float(losses.logs["psnr"]))
    assert psnrs[-1] > psnrs[0] + 3
    assert stage.export(stage.roles) == {"tiny_video": stage.roles["codec"]}


def test_codec_loss_is_a_function_of_the_generator() -> None:
    values = []
    for seed in (1, 1, 2):
        _, losses = next(codec_stage().turns(clip_batch(), 0, torch.Generator().manual_seed(seed)))
        values.append(float(losses.total.detach()))
    assert values[0] == values[1] != values[2]


def reader_stage() -> ReaderStage:
    torch.manual_seed(1)
    return ReaderStage(
        name="pixel_reader",
        reader=PixelReader(width=8, coarse_width=8, places=3, hidden=16),
        codec=small_codec().eval().requires_grad_(False),
        objective=PixelReaderObjective(weights=dict.fromkeys(READ_CHANNELS, 1.0)),
        decoded_share=0.5,
        max_noise=0.1,
    )


def audio_stage() -> CodecStage:
    torch.manual_seed(0)
    codec = TinyAudio(num_mels=16, num_codebooks=2, codebook_size=16, embedding_width=8, width=16, frame_width=8)
    return CodecStage(name="tiny_audio", codec=codec.train(), objective=AudioCodecObjective())


def speech_batch() -> dict[str, torch.Tensor]:
    utterances = Utterances(layout=Layout(), size=2, num_tokens=12, seed=0)
    return torch.utils.data.default_collate([utterances[i] for i in range(2)])


def test_reader_stage_trains_the_reader_only() -> None:
    stage = reader_stage()
    optimizer = torch.optim.AdamW(stage.roles["reader"].parameters(), lr=1e-2)
    codec_before = stage.roles["codec"].state_dict()
    codec_before = {name: value.clone() for name, value in codec_before.items()}
    rng, batch, totals = torch.Generator().manual_seed(0), clip_batch(), []
    for step in range(15):
        for role, losses in stage.turns(batch, step, rng):
            assert role == "reader"
            losses.total.backward()
            optimizer.step()
            optimizer.zero_grad()
            totals.append(float(losses.total.detach()))
    assert totals[-1] < 0.8 * totals[0]
    assert all(value.equal(codec_before[name]) for name, value in stage.roles["codec"].state_dict().items())
    assert all(parameter.grad is None for parameter in stage.roles["codec"].parameters())


def test_objective_computes_only_what_it_weighs_and_refuses_mismatched_hints() -> None:
    plain = {"max_noise": 0.0, "absolute": 0.0, "gradient": 0.0, "temporal": 0.0, "outlier": 0.0}
    rng = torch.Generator().manual_seed(0)
    losses = VideoCodecObjective(**plain, hint=0.0)(small_codec(), clip_batch(2), rng)
    assert set(losses.terms) == set(losses.weights) == {"squared"}
    with pytest.raises(ValueError, match="belong together"):
        VideoCodecObjective(**plain, hint=0.1)
    with pytest.raises(ValueError, match="3 hint_units for 11"):
        VideoCodecObjective(**plain, hint=0.1, hint_units=[1.0] * 3)(small_codec(), clip_batch(2), rng)
