"""By how much one of two recordings of a conversation is late, from their sound alone, and how sure that is.

Two kinds of evidence, of opposite sign and different sharpness, are looked at apart:

``bleed``  what leaks from one person into the other's microphone carries the same syllables at a lower level. The
           levels' fluctuation at syllable rate, in decibels, evened out and without the steps of the own voice,
           correlates *positively* at the true lag, to a hundredth of a second.
``turns``  people take turns, so voice activities correlate *negatively* at the true lag, to some tenths of a second.
           It is there without any leakage.

Correlations of such signals are rarely small by chance, so a peak is stated against what the same two recordings give
at circular shifts of more than ten seconds, where nothing of one can answer the other. The largest value in every
window as wide as the search has a Gumbel distribution (Fisher & Tippett 1928, Proc. Camb. Phil. Soc. 24), fitted by its
moments; the confidence is the share of chance peaks that it puts below the one found.

    S samples   R frames of the level   K lags   W windows of chance lags
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, sosfiltfilt
from scipy.stats import gumbel_r

from avatar_lab.events.segments import Segment, merge_close, to_mask
from avatar_lab.events.vad import VadRule, detect_speech, frame_levels
from avatar_lab.events.waveform import Waveform

MIN_WINDOWS = 20
"""With fewer windows of chance lags nothing is said: the recording is too short for the lags searched."""
_MIN_SPREAD_DB = 1.0
"""A level that fluctuates less is digital silence or a hum, and carries no syllables."""


@dataclass(frozen=True, kw_only=True)
class LagRule:
    """Parameters of the search."""

    max_lag: float = 1.0
    """Seconds; a lag beyond it is not found."""
    chance_from: float = 10.0
    """Circular shifts of at least this many seconds show chance."""
    syllables: tuple[float, float] = (2.0, 10.0)
    """Hertz of the level's fluctuation in which leakage is looked for."""
    lowest: float = -75.0
    """Decibels; what is quieter counts as this."""
    local: float = 1.0
    """Seconds over which the level's mean and spread are evened out."""
    edge: float = 0.15
    """Seconds around on- and offsets of the own voice that say nothing about leakage."""
    flicker: float = 0.3
    """Seconds; shorter silences are no offset."""
    pause: float = 1.0
    """Seconds; shorter own silences do not end a turn."""
    blur: float = 1.0
    """Seconds over which the correlation of turns is averaged: the middle of a broad trough, not its deepest point."""
    resolution: tuple[float, float] = (0.02, 0.3)
    """Seconds to which ``bleed`` and ``turns`` tell a lag; a smaller one is none."""


@dataclass(frozen=True, kw_only=True)
class LagEvidence:
    """A lag that one kind of evidence speaks for."""

    lag: float
    """Seconds by which ``b`` is late."""
    peak: float
    """Correlation there, sign turned so that large is strong."""
    chance: float
    """Ninety-fifth percentile of the largest correlations at chance lags."""
    confidence: float
    resolution: float


@dataclass(frozen=True, kw_only=True)
class PairLag:
    """Both kinds of evidence, and what follows. ``None`` where the recording is too short for any statement."""

    bleed: LagEvidence | None
    turns: LagEvidence | None
    windows: int
    """Windows of chance lags that the confidences rest on."""

    @property
    def evidence(self) -> dict[str, LagEvidence]:
        """Both kinds by name, the sharper one first; empty where nothing can be said."""
        found = {"bleed": self.bleed, "turns": self.turns}
        return {name: evidence for name, evidence in found.items() if evidence is not None}

    @property
    def surer(self) -> str | None:
        """Name of the surer kind of evidence, of the sharper one where they are equally sure."""
        known = self.evidence
        return max(known, key=lambda name: known[name].confidence) if known else None

    @property
    def best(self) -> LagEvidence | None:
        """The surer evidence."""
        return None if self.surer is None else self.evidence[self.surer]

    @property
    def confidence(self) -> float:
        """Of ``best``, corrected for having looked twice (Sidak 1967); 0 without any statement."""
        return 0.0 if self.best is None else self.best.confidence**2


def find_lag(
    waveforms: Mapping[str, Waveform], sample_rate: int, rule: LagRule | None = None, vad: VadRule | None = None
) -> PairLag:
    """Lag of ``b`` behind ``a`` from two equally long mono waveforms (S,) by side."""
    rule, vad = rule or LagRule(), vad or VadRule()
    rate = 1 / vad.frame
    leaked, turns = {}, {}
    for side, wav_S in waveforms.items():
        level_R = np.maximum(frame_levels(wav_S, sample_rate, vad), rule.lowest)
        speech = detect_speech(wav_S, sample_rate, vad)
        # Leakage that just reaches the detector's threshold makes it flicker; those are no on- and offsets.
        active_R = to_mask(merge_close(speech, min_gap=rule.flicker), rate=rate, count=len(level_R))
        leaked[side] = syllables(level_R, active_R, rate=rate, rule=rule)
        turns[side] = to_mask(merge_close(speech, min_gap=rule.pause), rate=rate, count=len(level_R)).astype(np.float64)
    windows = _chance_lags(len(leaked["a"]), rate, rule)
    if len(windows) < MIN_WINDOWS:
        return PairLag(bleed=None, turns=None, windows=len(windows))
    together_R = circular_correlation(leaked["a"], leaked["b"])
    in_turn_R = uniform_filter1d(-circular_correlation(turns["a"], turns["b"]), round(rule.blur * rate), mode="wrap")
    return PairLag(
        bleed=_evidence(together_R, windows, rate=rate, rule=rule, resolution=rule.resolution[0]),
        turns=_evidence(in_turn_R, windows, rate=rate, rule=rule, resolution=rule.resolution[1]),
        windows=len(windows),
    )


def syllables(level_R: np.ndarray, active_R: np.ndarray, *, rate: float, rule: LagRule) -> np.ndarray:
    """Fluctuation of the level at syllable rate, (R,): equally strong while the owner speaks and while only leakage can
    be heard, and nothing around the on- and offsets of the own voice."""
    span = round(rule.local * rate)
    deviation_R = level_R - uniform_filter1d(level_R, span)
    variance_R = uniform_filter1d(np.square(deviation_R), span)  # a running sum, which may end just below zero
    sos = butter(2, list(rule.syllables), btype="band", fs=rate, output="sos")
    even_R = deviation_R / np.sqrt(np.maximum(variance_R, _MIN_SPREAD_DB**2))
    wave_R = sosfiltfilt(sos, even_R, padlen=min(len(even_R) - 1, span))
    changes = np.flatnonzero(np.diff(active_R.astype(np.int8))) + 1
    near: list[Segment] = [(index / rate - rule.edge, index / rate + rule.edge) for index in changes.tolist()]
    return np.where(to_mask(near, rate=rate, count=len(level_R)), 0.0, wave_R)


def circular_correlation(left_R: np.ndarray, right_R: np.ndarray) -> np.ndarray:
    """Pearson correlation of ``left`` with ``right`` read ``k`` frames later, for every circular ``k``, (R,); zeros
    where one of them is constant."""
    left_R, right_R = left_R - left_R.mean(), right_R - right_R.mean()
    scale = float(np.sqrt(np.square(left_R).sum() * np.square(right_R).sum()))
    if scale == 0:
        return np.zeros(len(left_R))
    product = np.conj(np.fft.rfft(left_R)) * np.fft.rfft(right_R)
    return np.fft.irfft(product, n=len(left_R)) / scale


def _chance_lags(frames: int, rate: float, rule: LagRule) -> np.ndarray:
    """First and one-past-last circular lag of each window of chance lags, (W, 2): as wide as the search, side by
    side."""
    first, width = round(rule.chance_from * rate), 2 * round(rule.max_lag * rate) + 1
    starts = np.arange(first, frames - first - width + 1, width)
    return np.stack([starts, starts + width], axis=1)


def _evidence(
    correlation_R: np.ndarray,
    windows_W2: np.ndarray,
    *,
    rate: float,
    rule: LagRule,
    resolution: float,
) -> LagEvidence:
    reach = round(rule.max_lag * rate)
    near_K = np.concatenate([correlation_R[-reach:], correlation_R[: reach + 1]])
    chance_W = np.asarray([correlation_R[start:end].max() for start, end in windows_W2.tolist()])
    at, peak = int(np.argmax(near_K)), float(near_K.max())
    inside = 0 < at < len(near_K) - 1  # what still grows at the edge of the search is no peak
    return LagEvidence(
        lag=(_top(near_K, half_width=max(1, round(resolution * rate))) - reach) / rate,
        peak=peak,
        chance=float(np.percentile(chance_W, 95)),
        confidence=_share_below(peak, chance_W) if inside else 0.0,
        resolution=resolution,
    )


def _top(values_K: np.ndarray, *, half_width: int) -> float:
    """Index (fractional) of the largest value: the vertex of a parabola through what lies around it, where it has
    one."""
    at = int(np.argmax(values_K))
    around = np.arange(max(0, at - half_width), min(len(values_K), at + half_width + 1))
    if len(around) < 3:
        return float(at)
    curve, slope, _ = np.polyfit(around - at, values_K[around], 2)
    vertex = -slope / (2 * curve) if curve < 0 else 0.0
    return at + float(np.clip(vertex, around[0] - at, around[-1] - at))


def _share_below(peak: float, chance_W: np.ndarray) -> float:
    """Share of a Gumbel distribution with the moments of ``chance`` that lies below ``peak``."""
    scale = float(chance_W.std(ddof=1)) * np.sqrt(6) / np.pi
    if scale == 0:
        return 0.0
    location = float(chance_W.mean()) - np.euler_gamma * scale
    return float(gumbel_r.cdf(peak, loc=location, scale=scale))
