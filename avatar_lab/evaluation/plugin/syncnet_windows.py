"""What SyncNet looks at and listens to: windows of five frames and .2 s of sound, on its own clocks.

P frames at 25 a second   T windows, one for each frame   N of them with speech   M mel cepstra   S steps of 10 ms
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avatar_lab.evaluation.plugin.packages import import_or_say
from avatar_lab.evaluation.plugin.protocol import Wave
from avatar_lab.evaluation.plugin.speech import RATE
from avatar_lab.evaluation.plugin.syncnet_network import STEPS, WINDOW
from avatar_lab.events.segments import Segment, to_mask

FPS = 25


def at_25_fps(video_PHWC: NDArray[np.uint8], fps: float) -> NDArray[np.uint8]:
    """The frames that are shown at each tick of the clock that the network knows."""
    ticks = np.arange(int(len(video_PHWC) / fps * FPS)) / FPS
    return video_PHWC[np.floor(ticks * fps + 1e-6).astype(np.int64)]


def sound_windows(wave_S: Wave, num_windows: int, install: str) -> NDArray[np.float32]:
    """Mel cepstra (T, 13, 20) of the sound at 16 kHz of each window, at most ``num_windows``; the network knows the
    levels of 16 bits.

    Raises:
        Unavailable: python_speech_features is not installed; the message is ``install``.
    """
    features = import_or_say("python_speech_features", install)
    cepstra_SM = np.asarray(features.mfcc((wave_S * 32767).astype(np.int16), RATE), dtype=np.float32)
    hop = STEPS // WINDOW
    num_windows = max(0, min(num_windows, (len(cepstra_SM) - STEPS) // hop + 1))
    if not num_windows:
        return np.zeros((0, cepstra_SM.shape[1], STEPS), np.float32)
    windows_SMT = np.lib.stride_tricks.sliding_window_view(cepstra_SM, STEPS, axis=0)
    return windows_SMT[: num_windows * hop : hop]


def speaking_windows(speech: Sequence[Segment], num_windows: int, *, margin: int, at_most: int) -> NDArray[np.int64]:
    """Where windows start in which speech lasts throughout, ``margin`` frames from either end; of more than ``at_most``
    so many, spread evenly."""
    if num_windows < 1:
        return np.zeros(0, np.int64)
    spoken_P = to_mask(list(speech), rate=FPS, count=num_windows + WINDOW - 1)
    starts_N = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(spoken_P, WINDOW).all(1))
    starts_N = starts_N[(starts_N >= margin) & (starts_N < num_windows - margin)]
    if len(starts_N) > at_most:
        starts_N = starts_N[np.linspace(0, len(starts_N) - 1, at_most).round().astype(np.int64)]
    return starts_N
