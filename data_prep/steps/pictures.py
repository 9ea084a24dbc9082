"""Step 9, pictures: a few neutral moments of each person, each encoded alone, as reference pictures.

Neutral means: silent by the detectors, and not blinking, smiling, nodding or looking away by them or by the source's
own log, where either knows. One picture per equal part of the conversation, so that one from outside any training
window is at hand.

    P frames   R pictures   H, W, C latent grid, channels
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import torch

from avatar_lab.codec.protocol import VideoCodec
from avatar_lab.data.schema import SIDES
from avatar_lab.event_types import EventType, from_table
from avatar_lab.events.segments import Segment, covered_seconds
from data_prep.steps.crop import Crop
from data_prep.steps.store import StepResult

VERSION = 2
_DISTURBING = frozenset({EventType.BLINK, EventType.SMILE, EventType.NOD, EventType.LEAN, EventType.GAZE_AWAY})
_MARGIN = 0.16
"""Seconds kept between a picture and anything that moves the face."""


def neutral_frames(
    speech: list[Segment], known_events: pa.Table | None, *, side: str, fps: float, live_P: np.ndarray, pictures: int
) -> np.ndarray:
    """Frame of each picture on the layout's grid, (R,) int32, increasing, where there is a live picture at all: the
    first neutral one of each part, else a silent one, else the middle of the part."""
    live, frames = np.flatnonzero(live_P), len(live_P)
    busy = [] if known_events is None else [e for e in from_table(known_events) if e.side == side]
    moving = _touched([(e.start, e.end) for e in busy if e.type in _DISTURBING], fps=fps, frames=frames)
    talking = _touched(speech, fps=fps, frames=frames)
    chosen = []
    for part in np.array_split(live, min(pictures, len(live))) if len(live) else []:
        neutral = part[~(talking | moving)[part]]
        silent = part[~talking[part]]
        chosen.append(neutral[0] if len(neutral) else silent[0] if len(silent) else part[len(part) // 2])
    return np.asarray(chosen, np.int32)


def _touched(spans: list[Segment], *, fps: float, frames: int) -> np.ndarray:
    """Frames within ``_MARGIN`` of a span, (P,) bool."""
    wide = [(start - _MARGIN, max(end, start) + _MARGIN) for start, end in spans]
    return covered_seconds(wide, rate=fps, count=frames) > 0


def no_pictures(codec: VideoCodec) -> StepResult:
    """Of a recording without video: none, in the shapes of the schema."""
    grid = (codec.spec.grid_height, codec.spec.grid_width, codec.spec.channels)
    arrays = {f"{side}.pictures": np.zeros((0, *grid), np.float16) for side in SIDES}
    return StepResult(arrays=arrays | {f"{side}.picture_frames": np.zeros(0, np.int32) for side in SIDES})


@torch.inference_mode()
def encode_pictures(pieces: Iterator[np.ndarray], codec: VideoCodec, crop: Crop) -> np.ndarray:
    """Latents (R, H, W, C), half precision, of the source frames in ``pieces``."""
    size = {"height": codec.spec.frame_height, "width": codec.spec.frame_width}
    sized = [crop.apply(torch.from_numpy(p), **size) for p in pieces]
    return codec.encode_picture(torch.cat(sized)).half().numpy()
