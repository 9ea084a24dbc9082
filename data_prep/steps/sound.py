"""Both waveforms of a recording on the media clock.

S samples   T audio tokens
"""

from __future__ import annotations

import numpy as np

from avatar_lab.data.schema import SIDES
from avatar_lab.layout import Layout
from data_prep.manifest import Recording
from data_prep.media.client import MediaClient
from data_prep.steps.clock import Clock, waveform_on_grid


class Sound:
    """Both waveforms on the media clock, decoded when first asked for; ``shift`` seconds are added to the media times
    of each side that it names."""

    def __init__(
        self,
        recording: Recording,
        media: dict[str, MediaClient],
        layout: Layout,
        clock: Clock,
        *,
        shift: dict[str, float] | None = None,
    ) -> None:
        self._recording, self._media, self._layout, self._clock = recording, media, layout, clock
        self._shift = shift or {}
        self._loaded: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def waveforms(self) -> dict[str, np.ndarray]:
        """(S,) float32 per side, whole tokens long."""
        return {side: wav for side, (wav, _) in self._load().items()}

    @property
    def valid(self) -> dict[str, np.ndarray]:
        """(T,) bool per side."""
        return {side: valid for side, (_, valid) in self._load().items()}

    def moved(self, shift: dict[str, float]) -> Sound:
        """The same at other media times; decoded again."""
        return Sound(self._recording, self._media, self._layout, self._clock, shift=shift)

    def _load(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        for side in SIDES:
            if side not in self._loaded:
                files = self._recording.sides[side]
                blob = files.audio or files.video
                assert blob is not None  # probe has refused the recording otherwise
                wav, start = self._media[side].audio(blob, sample_rate=self._layout.sample_rate, channel=files.channel)
                start += self._shift.get(side, 0.0)
                self._loaded[side] = waveform_on_grid(wav, start=start, layout=self._layout, clock=self._clock)
        return self._loaded
