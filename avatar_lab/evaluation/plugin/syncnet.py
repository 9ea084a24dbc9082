"""Whether the mouth fits the voice: LSE-D and LSE-C (Prajwal et al. 2020, arXiv:2008.10010) by SyncNet (Chung &
Zisserman 2016, "Out of time").

Distances of mouth and sound at every lag of up to 15 frames are averaged over windows in which the avatar speaks; the
least is LSE-D, the median minus the least LSE-C. Both depend on how many lags there are, so that is fixed; and the
faces are found by dlib here, not by the S3FD of the public pipeline, so compare with its figures with care. The weights
are in no package: a variable of the environment says where they are.

    P frames at 25 a second   N windows with speech   T all windows   L lags   E dimensions of an embedding
    M mel cepstra   S steps of 10 ms   H, W, C picture   F frames of a window
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatar_lab.data.schema import file_sha256
from avatar_lab.evaluation.finding import Finding, finding
from avatar_lab.evaluation.metric.undefined import Array, Undefined
from avatar_lab.evaluation.plugin.face_places import FacePlaces, track_faces
from avatar_lab.evaluation.plugin.faces import dlib_or_say
from avatar_lab.evaluation.plugin.packages import import_or_say
from avatar_lab.evaluation.plugin.protocol import Judging, Take
from avatar_lab.evaluation.plugin.speech import speech_at_16k
from avatar_lab.evaluation.plugin.syncnet_network import SIDE, WINDOW, SyncNet
from avatar_lab.evaluation.plugin.syncnet_windows import FPS, at_25_fps, sound_windows, speaking_windows
from avatar_lab.evaluation.references import Unavailable

VARIABLE = "AVATAR_LAB_SYNCNET"
INSTALL = f"pip install 'avatar-lab[metrics]', and let {VARIABLE} be the path of syncnet_v2.model, in no package"
VSHIFT = 15
"""Frames by which the sound is shifted either way; confidence depends on it."""
MIN_WINDOWS, MAX_WINDOWS = 25, 200
"""To look at a mouth costs 3 billion multiplications, so of many windows so many are taken, spread evenly."""
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Sync:
    """Distance at the best lag, how much less it is than at the median lag, and that lag; positive = the mouth follows
    the sound."""

    distance: float
    confidence: float
    lag_ms: float
    windows: int


@dataclass(frozen=True)
class SyncNetDistance(Judging):
    """The avatar's mouth and its own voice, while it speaks."""

    name: ClassVar[str] = "syncnet"
    metrics: ClassVar[tuple[str, ...]] = ("syncnet_distance", "syncnet_confidence", "syncnet_lag_ms")
    weights: ClassVar[str] = f"syncnet_v2.model (Oxford VGG), in no package; {VARIABLE} is its path"

    def identity(self) -> str:
        import_or_say("python_speech_features", INSTALL)  # it has no version
        return f"{file_sha256(_network_file())} dlib {dlib_or_say(INSTALL).__version__}"

    def measure(self, take: Take) -> list[Finding]:
        found = measure_sync(_network(_network_file()), take)
        return [
            finding("syncnet_distance", found, lambda s: s.distance, lambda s: s.windows),
            finding("syncnet_confidence", found, lambda s: s.confidence, lambda s: s.windows),
            finding("syncnet_lag_ms", found, lambda s: s.lag_ms, lambda s: s.windows),
        ]


def measure_sync(network: SyncNet, take: Take) -> Sync | Undefined:
    """Mouth and voice of one take.

    Undefined: the avatar speaks too little, or no face is found while it does.

    Raises:
        Unavailable: dlib or python_speech_features is not installed.
    """
    video_PHWC = at_25_fps(take.media.video_PHWC, float(take.layout.fps))
    seconds = len(take.media.audio_S) / take.layout.sample_rate
    wave_S = speech_at_16k(take.media.audio_S, take.layout.sample_rate, [(0.0, seconds)])
    cepstra_TMS = sound_windows(wave_S, len(video_PHWC) - WINDOW + 1, INSTALL)
    starts_N = speaking_windows(take.observation.speech, len(cepstra_TMS), margin=VSHIFT, at_most=MAX_WINDOWS)
    if len(starts_N) < MIN_WINDOWS:
        return Undefined(f"{len(starts_N)} windows of speech; {MIN_WINDOWS} are needed")
    places = track_faces(video_PHWC, int(starts_N[0]), int(starts_N[-1]) + WINDOW, INSTALL)
    if places is None:
        return Undefined("no face is found while the avatar speaks")
    reach = np.arange(-VSHIFT, VSHIFT + 1)
    heard_T = np.unique(starts_N[:, None] + reach)
    with torch.inference_mode():
        sound = [network.hear(part[:, None]) for part in torch.from_numpy(cepstra_TMS[heard_T]).split(64)]
        mouth = [network.see(_faces(video_PHWC, places, part_N)) for part_N in np.split(starts_N, _cuts(starts_N))]
    sound_TE = np.zeros((len(cepstra_TMS), sound[0].shape[1]))
    sound_TE[heard_T] = torch.cat(sound).double().numpy()
    return sync_of(torch.cat(mouth).double().numpy(), sound_TE, starts_N)


def sync_of(mouth_NE: Array, sound_TE: Array, starts_N: NDArray[np.int64]) -> Sync:
    """Distances of mouths to the sounds around them; window ``n`` starts at frame ``starts_N[n]``, at least ``VSHIFT``
    from either end of the sound."""
    lags_L = np.arange(-VSHIFT, VSHIFT + 1)
    distance_L = np.array(
        [np.linalg.norm(mouth_NE - sound_TE[starts_N - lag], axis=1).mean() for lag in lags_L], dtype=np.float64
    )
    best = int(distance_L.argmin())
    return Sync(
        distance=float(distance_L[best]),
        confidence=float(np.median(distance_L) - distance_L[best]),
        lag_ms=float(lags_L[best] * 1000 / FPS),
        windows=len(starts_N),
    )


def _faces(video_PHWC: NDArray[np.uint8], places: FacePlaces, starts_N: NDArray[np.int64]) -> Tensor:
    """Faces (N, C, F, H, W) in the windows that start there, blue first."""
    crops = [
        torch.stack([places.crop(video_PHWC, start + offset, SIDE) for offset in range(WINDOW)], dim=1)
        for start in starts_N.tolist()
    ]
    return torch.stack(crops).flip(1)


def _cuts(starts_N: NDArray[np.int64]) -> list[int]:
    return list(range(_BATCH, len(starts_N), _BATCH))


@cache
def _network(path: Path) -> SyncNet:
    try:
        return SyncNet.load(path)
    except ValueError as error:
        raise Unavailable(str(error)) from error


def _network_file() -> Path:
    path = Path(os.environ.get(VARIABLE, "")).expanduser()
    if not path.is_file():
        raise Unavailable(f"{VARIABLE}={os.environ.get(VARIABLE, '')} is no file: {INSTALL}")
    return path
