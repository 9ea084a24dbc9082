"""Pictures of known difference, brightness, colour and sharpness."""

import numpy as np
import pytest

from avatar_lab.evaluation.metric.picture import look, psnr, ssim
from tests.evaluation.metric.signals import defined, reason


def noise(frames: int, seed: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (frames, size, size, 3)).astype(np.uint8)


def test_psnr_of_a_known_error() -> None:
    video_PHWC = noise(70, seed=0)
    assert psnr(video_PHWC, video_PHWC + 5) == pytest.approx(20 * np.log10(255 / 5), abs=1e-4)
    mixed_PHWC = video_PHWC + np.where(np.arange(70) < 35, 5, 50)[:, None, None, None].astype(np.uint8)
    expected = (20 * np.log10(255 / 5) + 20 * np.log10(255 / 50)) / 2
    assert psnr(video_PHWC, mixed_PHWC) == pytest.approx(expected, abs=1e-4)


def test_ssim_of_constants_is_the_luminance_term() -> None:
    dark, light = (np.full((3, 16, 16, 3), value, np.uint8) for value in (50, 100))
    c1 = (0.01 * 255) ** 2
    assert ssim(dark, light) == pytest.approx((2 * 50 * 100 + c1) / (50**2 + 100**2 + c1), abs=1e-4)


def test_ssim_orders_damage() -> None:
    video_PHWC = noise(66, seed=1)
    assert ssim(video_PHWC, video_PHWC) == pytest.approx(1, abs=1e-5)
    slight, strong = (
        (0.9 * video_PHWC + 0.1 * noise(66, seed=2)).astype(np.uint8),
        (0.5 * video_PHWC + 0.5 * noise(66, seed=2)).astype(np.uint8),
    )
    assert 1 > defined(ssim(video_PHWC, slight)) > defined(ssim(video_PHWC, strong))
    assert abs(defined(ssim(video_PHWC, noise(66, seed=3)))) < 0.6


def test_look() -> None:
    video_PHWC = np.zeros((70, 12, 12, 3), np.uint8)
    video_PHWC[:, ..., 0] = 200  # pure red
    video_PHWC[35:] = 100  # grey
    found = defined(look(video_PHWC))
    assert found.luma_P[:35] == pytest.approx(0.299 * 200 / 255, abs=1e-5)
    assert found.luma_P[35:] == pytest.approx(100 / 255, abs=1e-5)
    assert found.saturation_P.tolist() == [1.0] * 35 + [0.0] * 35
    assert found.sharpness_P == pytest.approx(0, abs=1e-6)


def test_sharpness_of_a_chessboard_and_of_its_blur() -> None:
    board_HW = 100 + 10 * (-1) ** np.add.outer(np.arange(16), np.arange(16))
    board_PHWC = np.repeat(board_HW[None, ..., None], 3, axis=3).repeat(2, axis=0).astype(np.uint8)
    inner = defined(look(board_PHWC)).sharpness_P
    assert (inner > 0.7 * 80**2).all()  # the Laplacian of +-10 alternates between +-80, less at the edges
    blurred_PHWC = ((board_PHWC + np.roll(board_PHWC, 1, axis=1).astype(np.uint16)) // 2).astype(np.uint8)
    assert (defined(look(blurred_PHWC)).sharpness_P < 0.1 * inner).all()


def test_no_number_without_grounds() -> None:
    video_PHWC = noise(4, seed=4)
    black_PHWC = np.zeros_like(video_PHWC)
    for measure in (psnr, ssim):
        assert "black" in reason(measure(black_PHWC, video_PHWC))
        assert "no frames" in reason(measure(video_PHWC[:0], video_PHWC[:0]))
        with pytest.raises(ValueError, match="cut and scale"):
            measure(video_PHWC, video_PHWC[:2])
    assert "black" in reason(look(black_PHWC))
    assert "identical" in reason(psnr(video_PHWC, video_PHWC))
    assert "smaller than the window" in reason(ssim(video_PHWC[:, :8], video_PHWC[:, :8]))
    with pytest.raises(ValueError, match="uint8"):
        look(video_PHWC.astype(np.float32))
