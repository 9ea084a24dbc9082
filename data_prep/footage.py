"""The media of one recording on the layout's clock, and what steps compute from it.

P frames on the layout's grid   R frames that are looked at   H, W picture size
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from avatar_lab.codec.protocol import AudioCodec, VideoCodec
from avatar_lab.data.schema import SIDES
from avatar_lab.layout import Layout
from data_prep.blob import Blob
from data_prep.manifest import Recording
from data_prep.media.client import MediaClient, VideoFacts
from data_prep.media.faces import FaceFinder
from data_prep.steps import encode, outages, pictures, track
from data_prep.steps.clock import Clock, frames_on_grid
from data_prep.steps.crop import Crop
from data_prep.steps.probe import video_facts
from data_prep.steps.sound import Sound
from data_prep.steps.store import StepResult
from data_prep.steps.track import Face


@dataclass(frozen=True, kw_only=True)
class Footage:
    """One recording, opened. ``facts`` is empty where there are no pictures; ``media`` decodes, one process a side;
    ``extents`` are start and end of each side's pictures, or of its sound where there are none, in media seconds."""

    recording: Recording
    media: dict[str, MediaClient]
    layout: Layout
    clock: Clock
    facts: dict[str, VideoFacts]
    extents: dict[str, tuple[float, float]]
    sound: Sound

    @classmethod
    def of(
        cls,
        recording: Recording,
        probed: StepResult,
        media: dict[str, MediaClient],
        layout: Layout,
        *,
        scratch: Path,
    ) -> Footage:
        """Footage of a probed recording, nothing decoded yet; its sound will be kept in the folder ``scratch``."""
        clock = Clock.of(layout, probed.values["seconds"])
        facts = {} if recording.audio_only else {side: video_facts(probed, side) for side in SIDES}
        sound = Sound(recording, media, layout, clock, scratch=scratch)
        streams = {side: probed.values.get(f"{side}.video") or probed.values[f"{side}.audio"] for side in SIDES}
        extents = {side: (float(stream["start"]), float(stream["end"])) for side, stream in streams.items()}
        return cls(
            recording=recording, media=media, layout=layout, clock=clock, facts=facts, extents=extents, sound=sound
        )

    def moved(self, shift: dict[str, float]) -> Footage:
        """The same with ``shift`` seconds added to the media times of each side named."""
        facts = {side: replace(known, pts_P=known.pts_P + shift.get(side, 0.0)) for side, known in self.facts.items()}
        extents = {s: (start + shift.get(s, 0.0), end + shift.get(s, 0.0)) for s, (start, end) in self.extents.items()}
        return replace(self, facts=facts, extents=extents, sound=self.sound.moved(shift))

    def shown(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Source frame shown at each grid time (P,), and whether there was a live picture then (P,)."""
        return frames_on_grid(self.facts[side].pts_P, fps=self.layout.fps, count=self.clock.frames)

    def frames(self, side: str, index_R: np.ndarray, *, chunk: int) -> Iterator[np.ndarray]:
        """Source frames (R, H, W, 3) uint8 at ``index_R`` (not decreasing), in pieces of ``chunk``."""
        return self.media[side].frames(self.video(side), index_R, self.facts[side], chunk=chunk)

    def face(self, side: str, finder: FaceFinder, *, pictures: int) -> Face:
        """Where a detector finds the face in pictures spread over the recording."""
        known = self.facts[side]
        index_R = np.linspace(0, len(known.pts_P) - 1, pictures).round().astype(np.int64)
        name = self.video(side).name
        box_R4 = np.concatenate([finder.boxes(p, about=name) for p in self.frames(side, index_R, chunk=pictures)])
        return track.place_of(box_R4, width=known.width, height=known.height)

    def video(self, side: str) -> Blob:
        """The file with the pictures of ``side``."""
        blob = self.recording.sides[side].video
        assert blob is not None  # probe has refused the recording otherwise
        return blob


def encode_footage(
    footage: Footage,
    *,
    audio_codec: AudioCodec,
    video_codec: VideoCodec,
    framings: dict[str, tuple[Crop, ...]],
    chunk_tokens: int,
    chunk_frames: int,
) -> StepResult:
    """Tokens, latents and user features of both sides with their validity, as ``encode.encode`` gives them."""
    clock = footage.clock
    streams: dict[str, Iterator[np.ndarray]] = {}
    valid: dict[str, Any] = {f"{side}.audio_valid": footage.sound.valid[side] for side in SIDES}
    valid |= {f"{side}.video_valid": np.zeros(0, bool) for side in SIDES}
    for side in footage.facts:
        index_P, live_P = footage.shown(side)
        streams[side] = footage.frames(side, index_P, chunk=chunk_frames)
        valid[f"{side}.video_valid"] = live_P.reshape(clock.latents, -1).all(1)
    result = encode.encode(
        footage.sound.waveforms,
        streams,
        audio_codec=audio_codec,
        video_codec=video_codec,
        framings=framings,
        chunk_tokens=chunk_tokens,
        chunk_frames=chunk_frames,
        scratch=footage.sound.scratch,
    )
    return replace(result, arrays={**result.arrays, **valid})


def take_pictures(
    footage: Footage,
    found: StepResult,
    *,
    video_codec: VideoCodec,
    framings: dict[str, tuple[Crop, ...]],
    count: int,
) -> StepResult:
    """Reference pictures of both sides from neutral moments between the events ``found``."""
    nothing = pictures.no_pictures(video_codec)
    if footage.recording.audio_only:
        return nothing
    arrays = dict(nothing.arrays)
    fps = float(footage.layout.fps)
    moving = [found.tables[name] for name in ("events", "given_events") if name in found.tables]
    for side in SIDES:
        index_P, live_P = footage.shown(side)
        off_n2 = found.arrays[f"{side}.{outages.CAMERA}"]
        grid_frames_R = pictures.neutral_frames(
            [tuple(span) for span in found.arrays[f"{side}.speech"].tolist()],
            pa.concat_tables(moving),
            side=side,
            fps=fps,
            live_P=live_P & outages.recorded(off_n2, rate=fps, count=footage.clock.frames),
            pictures=count,
        )
        if not len(grid_frames_R):  # the camera was off all the time
            continue
        pieces = footage.frames(side, index_P[grid_frames_R], chunk=len(grid_frames_R))
        arrays[f"{side}.pictures"] = pictures.encode_pictures(pieces, video_codec, framings[side][0])
        arrays[f"{side}.picture_frames"] = grid_frames_R
    return StepResult(arrays=arrays)
