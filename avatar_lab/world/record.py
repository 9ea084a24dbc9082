"""Conversations as recordings: the files that any two-person corpus would give, plus the truth about them.

    <id>_speaker1.mp4 .wav   side a         <id>.events.parquet   events with causes
    <id>_speaker2.mp4 .wav   side b         <id>.world.json       what is needed to simulate it again

Files appear complete or not at all; ``world.json`` comes last and marks a finished conversation.

    P  video frames   H, W, C  pixels   S  samples
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import soundfile

from avatar_lab.event_types import EventType, to_table
from avatar_lab.layout import Layout
from avatar_lab.lifetime import die_with_parent, leave_interrupts_to_parent
from avatar_lab.world.dialogue import SIDES, Dialogue
from avatar_lab.world.face import render_face
from avatar_lab.world.graph import Graph, world_v1
from avatar_lab.world.outages import OUTAGES
from avatar_lab.world.person import Person
from avatar_lab.world.scenario import SCENARIOS, ScenarioName
from avatar_lab.world.simulate import simulate
from avatar_lab.world.tracks import VOICE_RATE, Tracks
from avatar_lab.world.voice import synthesize
from avatar_lab.world.worlds import recorded_world

CONVERSATIONS_PER_SEED = 100_000
"""Conversations that one dataset seed owns; datasets of different seeds share nobody."""
# a smile on a 64-pixel face must survive: at crf 14 the reader's R2 on smiles falls from .97 to .80, at 6 to .94
_VIDEO_OPTIONS = {"crf": "5", "preset": "ultrafast", "bf": "0", "threads": "1", "g": "50"}
_DARK = 24
"""Brightness of the picture of a camera that is off."""
_AUDIO_OPTIONS = {"aac_coder": "fast", "b": "64k"}


def render_person(
    person: Person, tracks: Tracks, layout: Layout, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Frames (P, H, W, C) uint8 and waveform (S,) float32 of the whole blocks that ``tracks`` fill, equally long."""
    seconds = min(float(len(tracks.face_TP) / layout.fps), len(tracks.voice_RQ) / VOICE_RATE)
    blocks = layout.num_blocks(seconds)
    used = slice(blocks * layout.frames_per_block)
    scene_TC = None if tracks.scene_TC is None else tracks.scene_TC[used]
    frames_PHWC = render_face(person.appearance, tracks.face_TP[used], scene_TC=scene_TC)
    wav_S = synthesize(person.voice, tracks.voice_RQ, layout.sample_rate, rng)
    return frames_PHWC, wav_S[: blocks * layout.samples_per_block]


def write_video(path: Path, frames_PHWC: np.ndarray, layout: Layout, wav_S: np.ndarray | None = None) -> None:
    """H.264 (yuv420p), with ``wav_S`` as AAC if given; the reference for sound is the wav file, AAC is for watching."""
    height, width = frames_PHWC.shape[1:3]

    def write(temporary: Path) -> None:
        with av.open(str(temporary), "w", format="mp4") as container:
            video = container.add_stream("libx264", rate=layout.fps, options=_VIDEO_OPTIONS)
            video.height, video.width, video.pix_fmt = height, width, "yuv420p"
            if wav_S is not None:
                audio = container.add_stream("aac", rate=layout.sample_rate, layout="mono", options=_AUDIO_OPTIONS)
                sound = av.AudioFrame.from_ndarray(wav_S[None], format="fltp", layout="mono")
                sound.sample_rate, sound.pts = layout.sample_rate, 0
                container.mux([*audio.encode(sound), *audio.encode(None)])
            for picture_HWC in frames_PHWC:
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture_HWC, format="rgb24")))
            container.mux(video.encode(None))

    _publish(path, write)


def write_audio(path: Path, wav_S: np.ndarray, layout: Layout) -> None:
    """16-bit PCM."""
    _publish(path, lambda temporary: soundfile.write(temporary, wav_S, layout.sample_rate, "PCM_16", format="WAV"))


def recording_paths(interaction: str, folder: Path) -> list[Path]:
    """Every file of one conversation, the finishing mark last."""
    media = [folder / f"{interaction}_speaker{i + 1}.{kind}" for i in range(len(SIDES)) for kind in ("mp4", "wav")]
    return [*media, folder / f"{interaction}.events.parquet", folder / f"{interaction}.world.json"]


def write_recording(dialogue: Dialogue, folder: Path, layout: Layout, *, sound_in_video: bool = False) -> list[Path]:
    """Render ``dialogue`` into ``folder`` and return the files written.

    Args:
        sound_in_video: put the sound into the mp4 too, for watching; costs about half as much again.
    """
    if dialogue.layout != layout:
        raise ValueError(f"{dialogue.interaction} was simulated for another layout; pass this one to simulate()")
    folder.mkdir(parents=True, exist_ok=True)
    paths = recording_paths(dialogue.interaction, folder)
    for i, side in enumerate(SIDES):
        person = dialogue.persons[side]
        rng = dialogue.noise.generator("sound", side)
        frames_PHWC, wav_S = render_person(person, dialogue.tracks[side], layout, rng)
        _switch_off(dialogue, side, frames_PHWC, wav_S)
        write_video(paths[2 * i], frames_PHWC, layout, wav_S if sound_in_video else None)
        write_audio(paths[2 * i + 1], wav_S, layout)
    table = to_table(list(dialogue.events))
    _publish(paths[-2], lambda temporary: pq.write_table(table, temporary))
    text = json.dumps(_header(dialogue), indent=1)
    _publish(paths[-1], lambda temporary: temporary.write_text(text + "\n"))
    return paths


def read_dialogue(path: Path, layout: Layout, *, graph: Graph | None = None) -> Dialogue:
    """Simulate the conversation of a ``world.json`` again.

    Args:
        graph: the one that it was simulated with; default the one of the world that the file names.

    Raises:
        ValueError: it was simulated with another graph or layout, or in a world that this version does not know.
    """
    header = json.loads(path.read_text())
    graph = recorded_world(header) if graph is None else graph
    dialogue = simulate(header["seed"], header["seconds"], graph=graph, held_out=header["held_out"], layout=layout)
    now = _header(dialogue)
    changed = {name: (header.get(name), now.get(name)) for name in header | now if header.get(name) != now.get(name)}
    if changed:
        told = ", ".join(f"{name} {was} (now {is_now})" for name, (was, is_now) in changed.items())
        raise ValueError(f"{path} was simulated otherwise: {told}; pass that world and layout, or write it again")
    return dialogue


def write_dataset(
    folder: Path,
    *,
    num_dialogues: int,
    seconds: float,
    seed: int,
    held_out: bool,
    workers: int,
    graph: Graph | None = None,
    layout: Layout | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write ``num_dialogues`` conversations in ``workers`` processes; finished ones are left alone.

    Args:
        graph: default :func:`world_v1`.
        progress: called with (finished, all) after each conversation.

    Returns:
        Interaction identifiers, in order.

    Raises:
        ValueError: more conversations than one seed owns, or the folder holds finished ones of another world.
    """
    if not 0 < num_dialogues <= CONVERSATIONS_PER_SEED:
        raise ValueError(f"num_dialogues is {num_dialogues}; one dataset seed owns 1 to {CONVERSATIONS_PER_SEED}")
    job = _Job(
        folder=folder,
        seconds=seconds,
        held_out=held_out,
        graph=world_v1() if graph is None else graph,
        layout=Layout() if layout is None else layout,
    )
    seeds = range(seed * CONVERSATIONS_PER_SEED, seed * CONVERSATIONS_PER_SEED + num_dialogues)
    done: list[str] = []
    if workers <= 1:
        for number in seeds:
            done.append(job.write(number))
            if progress is not None:
                progress(len(done), num_dialogues)
        return done
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker) as pool:
        for interaction in pool.map(partial(_write_one, job), seeds):
            done.append(interaction)
            if progress is not None:
                progress(len(done), num_dialogues)
    return done


def _start_worker() -> None:
    die_with_parent()
    leave_interrupts_to_parent()


@dataclass(frozen=True, kw_only=True)
class _Job:
    folder: Path
    seconds: float
    held_out: bool
    graph: Graph
    layout: Layout

    def write(self, seed: int) -> str:
        dialogue = simulate(seed, self.seconds, graph=self.graph, held_out=self.held_out, layout=self.layout)
        paths = recording_paths(dialogue.interaction, self.folder)
        if all(path.exists() for path in paths):
            if json.loads(paths[-1].read_text()) != _header(dialogue):
                raise ValueError(f"{paths[-1]} belongs to another world; write to another folder or remove this one")
        else:
            write_recording(dialogue, self.folder, self.layout)
        return dialogue.interaction


def _write_one(job: _Job, seed: int) -> str:
    return job.write(seed)


def _switch_off(dialogue: Dialogue, side: str, frames_PHWC: np.ndarray, wav_S: np.ndarray) -> None:
    """Make picture and sound dark and silent, in place, while camera and microphone are off."""
    layout = dialogue.layout
    for (who, kind), (start, end) in dialogue.outages.spans.items():
        if who == side and kind is EventType.CAMERA_OFF:
            frames_PHWC[round(start * layout.fps) : round(end * layout.fps)] = _DARK
        elif who == side:
            wav_S[round(start * layout.sample_rate) : round(end * layout.sample_rate)] = 0


def _header(dialogue: Dialogue) -> dict[str, object]:
    layout = json.loads(json.dumps(dialogue.layout.to_dict()))
    split: dict[str, object] = {"split": "test"} if dialogue.held_out else {}
    return (
        _world_of(dialogue)
        | split
        | {
            "interaction": dialogue.interaction,
            "seed": dialogue.seed,
            "seconds": dialogue.seconds,
            "held_out": dialogue.held_out,
            "graph": dialogue.graph.fingerprint(),
            "num_events": len(dialogue.events),
            "participants": {side: dialogue.persons[side].name for side in SIDES},
            "layout": layout,
        }
    )


def _world_of(dialogue: Dialogue) -> dict[str, object]:
    """Which world it is, who plays what, and where streams are off: [start, end] in seconds by side and stream."""
    origin = dialogue.graph.origin
    if origin is None:
        return {}
    off = {
        side: {
            kind: [list(dialogue.outages.spans[side, kind])]
            for kind in OUTAGES
            if (side, kind) in dialogue.outages.spans
        }
        for side in SIDES
    }
    roles = SCENARIOS[ScenarioName(origin.scenario)].roles
    return {
        "world": origin.world,
        "scenario": origin.scenario,
        "held_out_strengths": origin.held_out,
        "roles": dict(zip(SIDES, roles, strict=True)),
        "off": off,
    }


def _publish(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside ``path`` and rename, so that a reader never sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
