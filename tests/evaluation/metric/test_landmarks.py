"""Landmarks with known answers: planted apertures, lags, blinks and noise come back, in any size of the face."""

from __future__ import annotations

import numpy as np
import pytest

from avatar_lab.evaluation.lip_sync import LipSync
from avatar_lab.evaluation.metric.landmarks import (
    EYES,
    RIGID,
    BlinkRate,
    Jitter,
    blink_rate,
    eye_aspect_ratio,
    face_frames,
    face_share,
    jitter,
    mouth_aperture,
    mouth_sync,
)
from avatar_lab.evaluation.metric.undefined import Array, Undefined

FPS = 25.0
RNG = np.random.default_rng(0)


def face(aperture_P: Array, ratio_P: Array | None = None, *, size: float = 100.0) -> Array:
    """A face with these apertures and eye aspect ratios; its eyes are ``size`` pixels apart."""
    ratio_P = np.full(len(aperture_P), 0.3) if ratio_P is None else ratio_P
    points_PL2 = np.tile(RNG.random((478, 2)), (len(aperture_P), 1, 1))
    points_PL2[:, 13], points_PL2[:, 14] = (0.5, 1.0), (0.5, 1.0)
    points_PL2[:, 14, 1] += aperture_P
    for eye, left in zip(EYES, (0.0, 0.7), strict=True):
        for point, x, y in zip(eye, (0.0, 0.1, 0.2, 0.3, 0.2, 0.1), (0.0, -0.5, -0.5, 0.0, 0.5, 0.5), strict=True):
            points_PL2[:, point, 0], points_PL2[:, point, 1] = left + x, 0.3 * y * ratio_P
    return points_PL2 * size + 50.0


def without(points_PL2: Array, *spans: slice) -> Array:
    points_PL2 = points_PL2.copy()
    for span in spans:
        points_PL2[span] = np.nan
    return points_PL2


def syllables(num: int) -> Array:
    return np.convolve(RNG.random(num + 4) ** 3, np.hanning(7)[1:-1], mode="valid")


@pytest.mark.parametrize("size", [6.0, 300.0])
def test_aperture_and_aspect_ratio_of_any_size(size: float) -> None:
    points_PL2 = without(face(np.array([0.0, 0.2, 0.5]), np.array([0.3, 0.1, 0.2]), size=size), slice(2, 3))
    assert mouth_aperture(points_PL2) == pytest.approx([0.0, 0.2, np.nan], nan_ok=True)
    assert eye_aspect_ratio(points_PL2) == pytest.approx([0.3, 0.1, np.nan], nan_ok=True)


def test_share_of_frames_with_a_face() -> None:
    points_PL2 = without(face(np.zeros(8)), slice(2, 4))
    points_PL2[5] = 7.0  # all points in one are no face
    assert face_frames(points_PL2).tolist() == [True, True, False, False, True, False, True, True]
    assert face_share(points_PL2) == 5 / 8
    assert isinstance(face_share(points_PL2[:0]), Undefined)


@pytest.mark.parametrize("lag", [-2, 0, 3])
def test_planted_lags_are_found_around_lost_faces(lag: int) -> None:
    """Eleven frames without a face take with them the eight on either side, whose lags reach into them."""
    sound_P, everywhere_P = syllables(500), np.ones(500, dtype=bool)
    points_PL2 = face(0.2 * np.roll(sound_P, lag))
    whole = mouth_sync(points_PL2, sound_P, everywhere_P, FPS)
    broken = mouth_sync(without(points_PL2, slice(200, 211)), sound_P, everywhere_P, FPS)
    for found, frames in ((whole, 500 - 16), (broken, 500 - 16 - 27)):
        assert isinstance(found, LipSync)
        assert found.correlation == pytest.approx(1.0, abs=1e-3)
        assert found.lag_ms == pytest.approx(lag * 40, abs=3)
        assert found.frames == frames


def test_silence_a_still_mouth_and_no_face_have_no_sync() -> None:
    sound_P, everywhere_P = syllables(100), np.ones(100, dtype=bool)
    moving, still = face(sound_P), face(np.full(100, 0.2))
    for points_PL2, envelope_P, speaking_P, reason in (
        (moving, np.zeros(100), everywhere_P, "does not move"),
        (still, sound_P, everywhere_P, "does not move"),
        (moving, sound_P, ~everywhere_P, "too little speech"),
        (without(moving, slice(None, None, 9)), sound_P, everywhere_P, "too little speech with a face"),
        (without(moving, slice(None)), sound_P, everywhere_P, "no face is found in 100 frames"),
    ):
        found = mouth_sync(points_PL2, envelope_P, speaking_P, FPS)
        assert isinstance(found, Undefined)
        assert reason in found.reason


def test_planted_blinks_are_counted() -> None:
    """Ten of four frames in a minute; a second with closed eyes is none, and time without a face does not count."""
    ratio_P = np.full(1500, 0.3) + 0.01 * RNG.standard_normal(1500)
    for start in range(50, 1500, 150):
        ratio_P[start : start + 4] = 0.1
    ratio_P[720:745] = 0.05
    points_PL2 = face(np.zeros(1500), ratio_P)
    assert blink_rate(points_PL2, FPS) == BlinkRate(per_minute=10.0, blinks=10)
    half = blink_rate(without(points_PL2, slice(750, None)), FPS)
    assert half == BlinkRate(per_minute=10.0, blinks=5)
    assert blink_rate(face(np.zeros(1500)), FPS) == BlinkRate(per_minute=0.0, blinks=0)


def test_too_short_a_look_and_shut_eyes_have_no_rate() -> None:
    short = blink_rate(without(face(np.zeros(1500)), slice(100, None)), FPS)
    assert short == Undefined("a face is seen for 4.0 s; 5 are needed for a rate")
    assert isinstance(blink_rate(face(np.zeros(500), np.zeros(500)), FPS), Undefined)


@pytest.mark.parametrize("size", [10.0, 100.0])
def test_planted_noise_is_measured(size: float) -> None:
    """Of standard deviation .3 % of the eye distance in x and in y; steady motion adds nothing."""
    points_PL2 = face(np.zeros(2000), size=size)
    points_PL2 += 0.01 * size * np.arange(2000)[:, None, None]
    steady = jitter(points_PL2)
    assert isinstance(steady, Jitter)
    assert steady.percent < 1e-9
    noisy = jitter(points_PL2 + 0.003 * size * RNG.standard_normal(points_PL2.shape))
    assert isinstance(noisy, Jitter)
    assert noisy.percent == pytest.approx(0.3 * np.sqrt(2), rel=0.03)
    assert noisy.triples == 1998


def test_nods_count_little_and_lost_neighbours_not_at_all() -> None:
    """Motion of f Hz counts by 1 - cos(2 pi f / fps), and by sqrt(2/3), as noise does."""
    nod_P = 5.0 * np.sin(2 * np.pi * 2.0 * np.arange(1000) / FPS)
    points_PL2 = face(np.zeros(1000))
    points_PL2[..., 1] += nod_P[:, None]
    found = jitter(points_PL2)
    assert isinstance(found, Jitter)
    passed = (1 - np.cos(2 * np.pi * 2.0 / FPS)) / np.sqrt(1.5)
    assert found.percent == pytest.approx(5.0 / np.sqrt(2) * passed, rel=0.01)
    jumping = points_PL2.copy()
    jumping[500:, RIGID] += 40.0
    broken = jitter(without(jumping, slice(499, 501)))
    assert isinstance(broken, Jitter)
    assert broken.percent == pytest.approx(found.percent, rel=0.01)
    assert broken.triples == 998 - 4
    assert isinstance(jitter(without(points_PL2, slice(None, None, 3))), Undefined)
