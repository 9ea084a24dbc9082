"""How near is made sound to a reference of the same words at the same times: spectrum, F0, waveform, intelligibility.

Only where such a reference exists, as in the way through the codec; a free avatar that says something else at another
time has none. Representation: waveforms in [-1, 1] of one sample rate, or their F0.

    S samples   R frames of 10 ms   N frames of the spectrum   F frequencies
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import spectrogram
from scipy.stats import pearsonr

from avatar_lab.evaluation.metric.undefined import Undefined, require_equal_lengths, unfit
from avatar_lab.evaluation.metric.voice import RATE, Voice

Wave = NDArray[np.floating[Any]]

SILENT = 10 ** (-60 / 20)
"""A waveform that never exceeds this (-60 decibels relative to full scale) is silent."""
FRAME_SECONDS = 0.032
DYNAMIC_RANGE_DB = 60.0
NO_DISTORTION_DB = 120.0
MIN_VOICED_SECONDS = 0.2


def log_spectral_distance(reference_S: Wave, made_S: Wave, sample_rate: int) -> float | Undefined:
    """LSD in decibels; lower is better (Gray & Markel 1976, IEEE Trans. ASSP 24).

    The mean over frames of 32 ms of the root mean square, over frequencies, of the difference of the log powers. Powers
    60 decibels below the loudest of the reference count as that, and frames in which the reference lies below in all
    frequencies are left out. Undefined: shorter than a frame, silent, not finite.

    Raises:
        ValueError: the waveforms differ in length.
    """
    if why := _unheard(reference_S, made_S, int(FRAME_SECONDS * sample_rate)):
        return why
    size = round(FRAME_SECONDS * sample_rate)
    true_FN, made_FN = (
        spectrogram(wave_S.astype(np.float64), fs=sample_rate, window="hann", nperseg=size, noverlap=size * 3 // 4)[2]
        for wave_S in (reference_S, made_S)
    )
    floor = true_FN.max() * 10 ** (-DYNAMIC_RANGE_DB / 10)
    heard_N = (true_FN > floor).any(0)
    ratio_FN = np.maximum(true_FN[:, heard_N], floor) / np.maximum(made_FN[:, heard_N], floor)
    return float(np.sqrt(np.square(10 * np.log10(ratio_FN)).mean(0)).mean())


@dataclass(frozen=True, kw_only=True)
class F0Agreement:
    """F0 over frames that are voiced in both.

    rmse          semitones, lower is better
    correlation   Pearson's r, higher is better
    voicing       share of all frames in which both agree on voiced or not, higher is better
    """

    rmse: float
    correlation: float | Undefined
    voicing: float


def f0_agreement(reference: Voice, made: Voice) -> F0Agreement | Undefined:
    """Agreement of two F0 tracks. Undefined: less than 0.2 s are voiced in both.

    Raises:
        ValueError: the tracks differ in length.
    """
    require_equal_lengths(reference=reference.f0_R, made=made.f0_R)
    voiced_R, made_voiced_R = np.isfinite(reference.f0_R), np.isfinite(made.f0_R)
    both_R = voiced_R & made_voiced_R
    if both_R.sum() < MIN_VOICED_SECONDS * RATE:
        return Undefined(f"{both_R.sum() / RATE:.2f} s are voiced in both; {MIN_VOICED_SECONDS:g} s are needed")
    true_R, made_R = reference.f0_R[both_R], made.f0_R[both_R]
    why = unfit({"F0 of the reference": true_R, "F0": made_R}, min_frames=2)
    return F0Agreement(
        rmse=float(np.sqrt(np.square(true_R - made_R).mean())),
        correlation=why or float(pearsonr(true_R, made_R).statistic),
        voicing=float((voiced_R == made_voiced_R).mean()),
    )


def si_sdr(reference_S: Wave, made_S: Wave) -> float | Undefined:
    """Scale-invariant signal-to-distortion ratio in decibels, of waveforms without their means; higher is better.

    (Le Roux et al. 2019, ICASSP; torchmetrics.) A shift by single samples ruins it, so it judges codecs that keep the
    waveform, not vocoders. Undefined: silent, constant or not finite, and where there is no distortion.

    Raises:
        ValueError: the waveforms differ in length.
    """
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    if why := _unheard(reference_S, made_S, 2):
        return why
    made, reference = (torch.from_numpy(wave_S.astype(np.float64)) for wave_S in (made_S, reference_S))
    value = float(scale_invariant_signal_distortion_ratio(made, reference, zero_mean=True))
    return value if value < NO_DISTORTION_DB else Undefined("there is no distortion")


def stoi(reference_S: Wave, made_S: Wave, sample_rate: int) -> float | Undefined:
    """Short-time objective intelligibility, up to 1; higher is better (Taal et al. 2011, IEEE TASLP 19; pystoi).

    Undefined: silent, not finite, or less than 0.4 s of speech in the reference (where pystoi itself returns 1e-5).

    Raises:
        ValueError: the waveforms differ in length.
        ModuleNotFoundError: pystoi is not installed (extra ``metrics``).
    """
    try:
        from pystoi import stoi as intelligibility
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("STOI needs pystoi: install avatar-lab with the extra `metrics`") from error

    if why := _unheard(reference_S, made_S, 2):
        return why
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(intelligibility(reference_S.astype(np.float64), made_S.astype(np.float64), sample_rate))
        except RuntimeWarning:  # its word for too little speech; it would return a number
            return Undefined("the reference holds less than 0.4 s of speech")


def _unheard(reference_S: Wave, made_S: Wave, min_samples: int) -> Undefined | None:
    """Why two waveforms cannot be compared."""
    waves = {"reference": reference_S.astype(np.float64), "made sound": made_S.astype(np.float64)}
    require_equal_lengths(**waves)
    if why := unfit(waves, min_frames=min_samples, moving=False):
        return why
    for name, wave_S in waves.items():
        if np.abs(wave_S - wave_S.mean()).max() <= SILENT:
            return Undefined(f"{name} is silent")
    return None
