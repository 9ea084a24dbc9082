"""Pictures, loops and sounds as data URIs, so that a page needs no other file.

H, W, C pixels   P frames   S samples
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import matplotlib.image
import numpy as np
import soundfile
from matplotlib import colormaps
from scipy.signal import spectrogram

from avatar_lab.layout import Layout
from avatar_lab.page_style import data_uri
from avatar_lab.world.record import write_video

_ENLARGE = 3
"""Pixels of a 64-pixel frame are drawn so large; the browser smooths the rest."""
_SPECTROGRAM = {"nperseg": 512, "noverlap": 400}
_TOP_HERTZ = 8000
_RANGE_DB = 65.0


def picture(frame_HWC: np.ndarray) -> str:
    """PNG."""
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, frame_HWC, format="png")
    return data_uri(buffer.getvalue(), "image/png")


def loop(frames_PHWC: np.ndarray, layout: Layout, wav_S: np.ndarray | None = None) -> str:
    """MP4, with sound if given."""
    large_PHWC = np.repeat(np.repeat(frames_PHWC, _ENLARGE, axis=1), _ENLARGE, axis=2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "loop.mp4"
        write_video(path, large_PHWC, layout, wav_S)
        return data_uri(path.read_bytes(), "video/mp4")


def sound(wav_S: np.ndarray, sample_rate: int) -> str:
    """16-bit WAV."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wav_S, sample_rate, "PCM_16", format="WAV")
    return data_uri(buffer.getvalue(), "audio/wav")


def spectrum(wav_S: np.ndarray, sample_rate: int) -> str:
    """PNG of the spectrogram up to 8 kHz, low frequencies at the bottom."""
    hertz, _, power = spectrogram(wav_S, sample_rate, **_SPECTROGRAM)
    level = 10 * np.log10(power[hertz <= _TOP_HERTZ] + 1e-14)
    shade = np.clip((level - level.max()) / _RANGE_DB + 1, 0, 1)
    return picture((255 * colormaps["magma"](shade[::-1])[..., :3]).astype(np.uint8))
