"""Pictures against a reference of the same moments, and what can be said of pictures without one.

Representation: frames (P, H, W, 3) in 8 bits. Where the two face one another only in distribution, as in a free
rollout, there is no reference; then use the curves, and their drift (``drift.py``).

    P frames   H, W, C picture
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import laplace

from avatar_lab.evaluation.metric.undefined import Array, Undefined

Frames = NDArray[np.uint8]

BLACK = 2
"""A video without any value above this, of 255, is black."""
PEAK = 255.0
MIN_SIDE = 11
"""Pixels of the window of SSIM."""
_BATCH = 64
_LUMA_C = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Of ITU-R BT.601."""


def psnr(reference_PHWC: Frames, made_PHWC: Frames) -> float | Undefined:
    """Peak signal-to-noise ratio in decibels, the mean over frames; higher is better (torchmetrics).

    Undefined: no frames, a black reference, a frame that is identical (its ratio is infinite).

    Raises:
        ValueError: the shapes differ, or are not of frames in 8 bits.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    if why := _unseen(reference_PHWC, made_PHWC):
        return why
    ratios = [
        peak_signal_noise_ratio(made, reference, data_range=PEAK, reduction="none", dim=(1, 2, 3))
        for reference, made in _batches(reference_PHWC, made_PHWC)
    ]
    ratio = float(torch.cat(ratios).double().mean())
    return ratio if np.isfinite(ratio) else Undefined("a frame is identical to its reference")


def ssim(reference_PHWC: Frames, made_PHWC: Frames) -> float | Undefined:
    """Structural similarity, up to 1, the mean over frames and colours; higher is better.

    (Wang et al. 2004, IEEE Trans. Image Processing 13, Gaussian window of 11 pixels; torchmetrics.) Undefined: no
    frames, pictures smaller than the window, a black reference.

    Raises:
        ValueError: the shapes differ, or are not of frames in 8 bits.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if why := _unseen(reference_PHWC, made_PHWC):
        return why
    if min(reference_PHWC.shape[1:3]) < MIN_SIDE:
        return Undefined(f"pictures of {reference_PHWC.shape[1:3]} pixels are smaller than the window of {MIN_SIDE}")
    parts = [
        structural_similarity_index_measure(made, reference, data_range=PEAK, reduction="none")
        for reference, made in _batches(reference_PHWC, made_PHWC)
    ]
    return float(torch.cat([torch.as_tensor(part).reshape(-1) for part in parts]).double().mean())


@dataclass(frozen=True, kw_only=True)
class Look:
    """Curves of a video without any reference, (P,) each; neither direction is better, they should not drift.

    luma         mean brightness, 0 to 1
    saturation   mean of (largest - smallest colour) / largest, 0 to 1
    sharpness    variance of the Laplacian of the luma (Pech-Pacheco et al. 2000), in squared units of 0 to 255
    """

    luma_P: Array
    saturation_P: Array
    sharpness_P: Array


def look(video_PHWC: Frames) -> Look | Undefined:
    """Brightness, saturation and sharpness of every frame. Undefined: no frames, or a black video.

    Raises:
        ValueError: these are no frames in 8 bits.
    """
    if why := _unseen(video_PHWC, video_PHWC):
        return why
    columns = []
    for start in range(0, len(video_PHWC), _BATCH):
        frames_PHWC = video_PHWC[start : start + _BATCH].astype(np.float32)
        luma_PHW = frames_PHWC @ _LUMA_C
        high_PHW, low_PHW = frames_PHWC.max(-1), frames_PHWC.min(-1)
        edges_PHW = laplace(luma_PHW, axes=(1, 2))
        columns.append(
            np.stack(
                [
                    luma_PHW.mean((1, 2)) / PEAK,
                    ((high_PHW - low_PHW) / np.maximum(high_PHW, 1)).mean((1, 2)),
                    edges_PHW.var((1, 2)),
                ]
            )
        )
    luma_P, saturation_P, sharpness_P = np.concatenate(columns, axis=1).astype(np.float64)
    return Look(luma_P=luma_P, saturation_P=saturation_P, sharpness_P=sharpness_P)


def _unseen(reference_PHWC: Frames, made_PHWC: Frames) -> Undefined | None:
    """Why two videos cannot be compared."""
    if reference_PHWC.shape != made_PHWC.shape:
        raise ValueError(f"videos have shapes {reference_PHWC.shape} and {made_PHWC.shape}; cut and scale them alike")
    if (
        reference_PHWC.ndim != 4
        or reference_PHWC.shape[-1] != 3
        or {reference_PHWC.dtype, made_PHWC.dtype} != {np.dtype(np.uint8)}
    ):
        raise ValueError(f"videos are {reference_PHWC.dtype} of shape {reference_PHWC.shape}; give (P, H, W, 3) uint8")
    if len(reference_PHWC) == 0:
        return Undefined("there are no frames")
    return Undefined("the reference is black") if reference_PHWC.max() <= BLACK else None


def _batches(reference_PHWC: Frames, made_PHWC: Frames) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pieces of both as (P, C, H, W) floats."""
    for start in range(0, len(reference_PHWC), _BATCH):
        reference, made = (
            torch.from_numpy(video_PHWC[start : start + _BATCH]).permute(0, 3, 1, 2).float()
            for video_PHWC in (reference_PHWC, made_PHWC)
        )
        yield reference, made
