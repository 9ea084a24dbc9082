"""The embedded video codec: streaming equals offline, causal with one latent of past, and good on people never seen."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.world.clips import FaceClips

FPS = 25.0
HELD_OUT_SEED = 1_000_003


def tiny(seed: int = 0) -> TinyVideo:
    """A random codec in which every weight matters: residual branches do not start at zero here."""
    torch.manual_seed(seed)
    codec = TinyVideo(
        encoder_widths=(8, 8, 8),
        places=3,
        summary=8,
        decoder_widths=(8, 8, 8, 8),
        decoder_blocks=(1, 1, 1, 1),
        channels=5,
    )
    with torch.no_grad():
        for parameter in codec.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        codec.latent_mean_C.uniform_(-1, 1)
        codec.latent_std_C.uniform_(0.5, 2)
    return codec.eval()


def noise_frames(batch: int, num: int, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 256, (batch, num, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def max_difference(left: Tensor, right: Tensor) -> float:
    return float((left.float() - right.float()).abs().max())


def test_shapes_and_spec() -> None:
    codec = tiny()
    latents_BFHWC, _ = codec.encode(noise_frames(2, 12))
    frames_BPHWC, _ = codec.decode(latents_BFHWC)
    assert latents_BFHWC.shape == (2, 3, codec.spec.grid_height, codec.spec.grid_width, codec.spec.channels)
    assert frames_BPHWC.shape == (2, 12, 64, 64, 3)
    assert frames_BPHWC.dtype == torch.uint8


@pytest.mark.parametrize("chunks", [(1, 1, 1, 1, 1), (2, 3), (4, 1)])
def test_streaming_equals_offline(chunks: tuple[int, ...]) -> None:
    codec, frames = tiny(), noise_frames(2, 20)
    offline, _ = codec.encode(frames)
    state, parts = None, []
    for piece in frames.split([4 * n for n in chunks], dim=1):
        latents, state = codec.encode(piece, state)
        parts.append(latents)
    assert max_difference(torch.cat(parts, 1), offline) < 1e-4
    pictures, _ = codec.decode(offline)
    state, parts = None, []
    for piece in offline.split(list(chunks), dim=1):
        decoded, state = codec.decode(piece, state)
        parts.append(decoded)
    assert max_difference(torch.cat(parts, 1), pictures) <= 1


def test_encoder_is_causal_with_one_latent_of_past() -> None:
    codec, frames = tiny(), noise_frames(1, 24)
    before, _ = codec.encode(frames)
    changed = frames.clone()
    changed[:, 8:12] = noise_frames(1, 4, seed=1)  # the frames of latent 2
    after, _ = codec.encode(changed)
    difference = (before - after).abs().amax((0, 2, 3, 4))
    assert difference[[0, 1, 4, 5]].max() == 0
    assert difference[[2, 3]].min() > 1e-3


def test_decoder_is_causal_with_one_latent_of_past() -> None:
    codec = tiny()
    latents = torch.randn(1, 6, 4, 4, 5, generator=torch.Generator().manual_seed(0))
    before, _ = codec.decode(latents)
    changed = latents.clone()
    changed[:, 2] += 1
    after, _ = codec.decode(changed)
    difference = (before.int() - after.int()).abs().amax((0, 2, 3, 4))
    assert difference[:8].max() == difference[16:].max() == 0
    assert difference[8:16].max() > 0


def test_samples_do_not_depend_on_their_batch() -> None:
    codec, frames = tiny(), noise_frames(3, 8)
    together, _ = codec.encode(frames)
    alone, _ = codec.encode(frames[1:2])
    assert max_difference(together[1:2], alone) < 1e-4


def test_cold_start_is_a_still_past_and_fades_after_the_warm_latents() -> None:
    codec, frames = tiny(), noise_frames(1, 16)
    _, running = codec.encode(noise_frames(1, 8, seed=2))
    cold, _ = codec.encode(frames)
    warm, _ = codec.encode(frames, running)
    agree = codec.spec.warm_latents
    assert max_difference(cold[:, :agree], warm[:, :agree]) > 1e-3
    assert max_difference(cold[:, agree:], warm[:, agree:]) < 1e-4
    still = frames[:, :1].expand(-1, 4, -1, -1, -1)
    _, after_still = codec.encode(still)
    assert max_difference(codec.encode(frames, after_still)[0], cold) < 1e-4


def test_picture_is_the_latent_of_a_still() -> None:
    codec, picture = tiny(), noise_frames(2, 1)[:, 0]
    latent_BHWC = codec.encode_picture(picture)
    running, _ = codec.encode(picture[:, None].expand(-1, 12, -1, -1, -1))
    assert max_difference(latent_BHWC, running[:, -1]) < 1e-4


def test_bad_sizes_are_refused() -> None:
    codec = tiny()
    with pytest.raises(ValueError, match="6 frames are not whole latents of 4"):
        codec.encode(noise_frames(1, 6))
    with pytest.raises(ValueError, match="expected"):
        codec.encode(noise_frames(1, 4)[:, :, :32])
    with pytest.raises(ValueError, match="expected"):
        codec.decode(torch.zeros(1, 1, 4, 4, 6))
    with pytest.raises(ValueError, match="frame_size 48"):
        TinyVideo(frame_size=48)


def test_save_and_load_keep_everything(tmp_path: Path) -> None:
    codec = tiny()
    codec.save(tmp_path / "codec.safetensors")
    loaded = TinyVideo.load(tmp_path / "codec.safetensors")
    assert loaded.spec == codec.spec
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "codec.safetensors").read_bytes()
    frames = noise_frames(1, 8)
    assert max_difference(loaded.encode(frames)[0], codec.encode(frames)[0]) < 0.02  # half-precision storage


def test_fingerprint_follows_the_weights() -> None:
    codec = tiny()
    before = codec.spec.fingerprint
    with torch.no_grad():
        codec.to_latent.weight[0, 0, 0, 0] += 1
    assert codec.spec.fingerprint != before
    assert tiny().spec.fingerprint == before


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no weights at"):
        TinyVideo.load(tmp_path / "none.safetensors")
    path = tmp_path / "codec.safetensors"
    tiny().save(path)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged"):
        TinyVideo.load(path)
    content[-20] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="corrupt"):
        TinyVideo.load(path)


def test_training_normalises_by_the_batch_and_tracks_statistics() -> None:
    codec = tiny().train()
    frames = noise_frames(4, 8)
    before = codec.latent_mean_C.clone()
    output = codec(frames)
    latents_BFCHW = output.latents_BFCHW
    assert output.frames_BPHWC.shape == frames.shape
    assert output.hints_BPT.shape == (4, 8, 11)
    assert latents_BFCHW.mean((0, 1, 3, 4)).abs().max() < 1e-3
    assert (latents_BFCHW.std((0, 1, 3, 4)) - 1).abs().max() < 0.05
    assert not codec.latent_mean_C.equal(before)


@pytest.mark.ci
def test_shipped_weights_on_people_never_seen() -> None:
    """PSNR of the shipped codec, latent statistics, and no flicker on a person who stands still."""
    codec = TinyVideo.load()
    assert TinyVideo.shipped_weights().stat().st_size <= 4_000_000
    clips = FaceClips(num_clips=48, num_frames=24, fps=FPS, seed=HELD_OUT_SEED)
    frames = torch.stack([clips[i]["frames"] for i in range(len(clips))])
    latents_BFHWC, _ = codec.encode(frames)
    decoded, _ = codec.decode(latents_BFHWC)
    squared_BP = (decoded.float() - frames.float()).square().mean((2, 3, 4))
    psnr_BP = 10 * torch.log10(255**2 / squared_BP)
    assert psnr_BP.mean() >= 30
    assert latents_BFHWC.mean((0, 1, 2, 3)).abs().max() < 0.25
    assert (latents_BFHWC.std((0, 1, 2, 3)) - 1).abs().max() < 0.2
    still = frames[:8, :1].expand(-1, 24, -1, -1, -1)
    shown, _ = codec.decode(codec.encode(still)[0])
    assert shown[:, 4:].float().diff(dim=1).abs().mean() < 0.6


@pytest.mark.ci
@pytest.mark.xfail(
    strict=True, reason="missed: small features of the face are blurred (experiments/LOG.md, 2026-11-22)"
)
def test_motion_is_reproduced_neither_blurred_away_nor_invented() -> None:
    codec = TinyVideo.load()
    clips = FaceClips(num_clips=48, num_frames=24, fps=FPS, seed=HELD_OUT_SEED)
    frames = torch.stack([clips[i]["frames"] for i in range(len(clips))])
    decoded, _ = codec.decode(codec.encode(frames)[0])
    wanted, given = frames.float().diff(dim=1), decoded.float().diff(dim=1)
    assert (given - wanted).abs().mean() < wanted.abs().mean()


@pytest.mark.ci
@pytest.mark.xfail(strict=True, reason="missed: 21.9 dB; one fast turn of the head (experiments/LOG.md, 2026-11-22)")
def test_worst_frame_of_people_never_seen() -> None:
    codec = TinyVideo.load()
    clips = FaceClips(num_clips=48, num_frames=24, fps=FPS, seed=HELD_OUT_SEED)
    frames = torch.stack([clips[i]["frames"] for i in range(len(clips))])
    decoded, _ = codec.decode(codec.encode(frames)[0])
    squared_BP = (decoded.float() - frames.float()).square().mean((2, 3, 4))
    assert (10 * torch.log10(255**2 / squared_BP)).min() >= 22
