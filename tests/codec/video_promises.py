"""What every video codec must keep.

B batch   P frames   F latents   H, W, C height, width, channels
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from avatar_lab.codec.protocol import VideoCodec
from tests.codec.comparison import LATENT, LEVELS, apart, assert_close, streamed

_CHUNKS = ([1] * 5, [2, 3], [4, 1])


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
    for chunks in _CHUNKS:
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
