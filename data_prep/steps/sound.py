"""Both waveforms of a recording on the media clock, decoded piece by piece into scratch files.

S samples   T audio tokens
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avatar_lab.data.schema import SIDES
from avatar_lab.layout import Layout
from data_prep.manifest import Recording
from data_prep.media.client import MediaClient
from data_prep.steps.clock import Clock, waveform_on_grid
from data_prep.steps.scratch import Beginning, ScratchArray


class Sound:
    """Both waveforms on the media clock, decoded when first asked for; ``shift`` seconds are added to the media times
    of each side that it names. They are kept in ``scratch``, 4 bytes a sample, as long as this object is."""

    def __init__(
        self,
        recording: Recording,
        media: dict[str, MediaClient],
        layout: Layout,
        clock: Clock,
        *,
        scratch: Path,
        shift: dict[str, float] | None = None,
    ) -> None:
        self._recording, self._media, self._layout, self._clock = recording, media, layout, clock
        self.scratch, self._shift = scratch, shift or {}
        self._loaded: dict[str, tuple[ScratchArray, np.ndarray]] = {}

    @property
    def waveforms(self) -> dict[str, ScratchArray]:
        """(S,) float32 per side, whole tokens long."""
        return {side: wav for side, (wav, _) in self._load().items()}

    @property
    def valid(self) -> dict[str, np.ndarray]:
        """(T,) bool per side."""
        return {side: valid for side, (_, valid) in self._load().items()}

    def first(self, seconds: float) -> dict[str, Beginning]:
        """The beginning of both waveforms, or all of them where they are shorter."""
        samples = round(seconds * self._layout.sample_rate)
        return {side: Beginning(wav, samples) for side, wav in self.waveforms.items()}

    def moved(self, shift: dict[str, float]) -> Sound:
        """The same at other media times; decoded again."""
        return Sound(self._recording, self._media, self._layout, self._clock, scratch=self.scratch, shift=shift)

    def _load(self) -> dict[str, tuple[ScratchArray, np.ndarray]]:
        for side in SIDES:
            if side not in self._loaded:
                files = self._recording.sides[side]
                blob = files.audio or files.video
                assert blob is not None  # probe has refused the recording otherwise
                placed = ScratchArray(self.scratch, (self._clock.samples,))
                pieces = self._media[side].audio(blob, sample_rate=self._layout.sample_rate, channel=files.channel)
                valid_T = waveform_on_grid(
                    pieces, placed, shift=self._shift.get(side, 0.0), layout=self._layout, clock=self._clock
                )
                self._loaded[side] = placed, valid_T
        return self._loaded
