"""Memory does not grow with the length of a recording, and what preparing it costs grows in proportion."""

from __future__ import annotations

import json
import resource
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

import avatar_lab.events.vad
from avatar_lab.codec.protocol import State
from avatar_lab.codec.tiny_audio import TinyAudio
from avatar_lab.codec.tiny_video import TinyVideo
from avatar_lab.events.vad import VadRule, detect_speech, frame_levels
from avatar_lab.layout import Layout
from data_prep.media.client import MediaLimits
from data_prep.prepare import prepare
from data_prep.sources.paired_files import PairedFiles
from data_prep.sources.stereo_manifest import StereoManifest
from data_prep.steps.augment import AugmentRule
from data_prep.steps.scratch import Beginning, ScratchArray
from tests.data_prep.fake_codecs import FakeAudio, FakeVideo
from tests.data_prep.recordings import FPS, RATE, tones, write_video

MB = 1 << 20
TURNS = ([(1.0, 9.0), (20.0, 27.0)], [(10.0, 19.0), (28.0, 29.0)])
"""Of both people, in half a minute that is repeated."""
EVERYTHING = AugmentRule(echo_share=1.0, room_share=1.0, noise_share=1.0, loss_share=1.0)


def write_long(root: Path, seconds: float, *, sample_rate: int) -> StereoManifest:
    """One recording of two people, written half a minute at a time."""
    root.mkdir()
    half_minute = np.stack([tones(30.0, spans, sample_rate=sample_rate) for spans in TURNS], axis=1)
    with soundfile.SoundFile(root / "long.flac", "w", sample_rate, 2, "PCM_16") as file:
        for _ in range(round(seconds / 30)):
            file.write(half_minute)
    (root / "m.jsonl").write_text(json.dumps({"path": "long.flac", "duration": seconds}) + "\n")
    return StereoManifest(root=root, manifest="m.jsonl")


def peak_of_arrays(folder: Path, seconds: float, *, sample_rate: int) -> int:
    """Bytes that Python and numpy held at most while a recording was prepared."""
    source = write_long(folder, seconds, sample_rate=sample_rate)
    layout = Layout(sample_rate=sample_rate)
    tracemalloc.start()
    prepare(
        source=source,
        out=folder / "shards",
        layout=layout,
        audio_codec=lambda: FakeAudio(sample_rate=sample_rate),
        video_codec=FakeVideo,
        splits={"train": 1.0},
        workers=0,
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.ci
def test_no_array_is_as_long_as_the_sound(tmp_path: Path) -> None:
    short = peak_of_arrays(tmp_path / "short", 120.0, sample_rate=8_000)
    long = peak_of_arrays(tmp_path / "long", 1800.0, sample_rate=8_000)
    one_waveform = 1800 * 8_000 * 4
    assert long < short + 0.4 * one_waveform
    assert long < 0.8 * one_waveform


def test_levels_and_speech_are_the_same_from_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rate = 24_000
    rng = np.random.default_rng(3)
    wav_S = tones(40.0, TURNS[0], sample_rate=rate) + rng.normal(0, 3e-4, 40 * rate).astype(np.float32)
    on_disk = ScratchArray(tmp_path, (len(wav_S),))
    on_disk.write(0, wav_S)
    level_R, speech = frame_levels(wav_S, rate, VadRule()), detect_speech(wav_S, rate)
    assert len(speech) == 2
    for piece in (241, 7_001, 100_000):
        monkeypatch.setattr(avatar_lab.events.vad, "PIECE", piece)
        np.testing.assert_array_equal(frame_levels(on_disk, rate, VadRule()), level_R)
        assert detect_speech(on_disk, rate) == speech


def test_scratch_is_silent_until_written_and_leaves_nothing_behind(tmp_path: Path) -> None:
    on_disk = ScratchArray(tmp_path / "work", (10,))
    on_disk.write(3, np.arange(1, 5, dtype=np.float32))
    np.testing.assert_array_equal(on_disk[:], [0, 0, 0, 1, 2, 3, 4, 0, 0, 0])
    np.testing.assert_array_equal(on_disk[4:90], [2, 3, 4, 0, 0, 0])
    assert len(on_disk[10:]) == 0
    np.testing.assert_array_equal(Beginning(on_disk, 5)[3:90], [1, 2])
    assert list((tmp_path / "work").iterdir()) == []
    with pytest.raises(ValueError, match=r"rows 8 to 11 .* do not fit"):
        on_disk.write(8, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="do not fit"):
        on_disk.write(0, np.ones((3, 1), np.float32))
    with pytest.raises(ValueError, match="not every 2"):
        on_disk[::2]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What one process took: its peak of resident memory, and processor time with that of its children."""

    resident: int
    seconds: float


def taken_by(folder: Path, hours: Fraction) -> Taken:
    """Prepare a recording of so many hours with the shipped codecs; to be run in a process of its own."""
    torch.set_num_threads(1)
    source = write_long(folder, float(hours * 3600), sample_rate=24_000)
    before = processor_seconds()
    prepare(
        source=source,
        out=folder / "shards",
        layout=Layout(),
        audio_codec=TinyAudio.load,
        video_codec=TinyVideo.load,
        splits={"train": 1.0},
        workers=0,
        limits=MediaLimits(max_seconds=11 * 3600.0),
    )
    return Taken(resident=peak_resident(), seconds=processor_seconds() - before)


def peak_resident() -> int:
    """Bytes; ``getrusage`` would give at least what the process had that started this one."""
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) << 10


def processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def alone(work: Callable[[Path, Fraction], Taken], folder: Path, hours: Fraction) -> Taken:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(work, folder, hours).result()


# With pictures ------------------------------------------------------------------------------------------------------
class WideVideo(FakeVideo):
    """Latents of 10 kB: 250 kB/s of them for two people, of whom both framings are stored."""

    times = 432

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, channels=self.times * self.spec.channels)

    def encode(self, frames_BPHWC: Tensor, state: State = None) -> tuple[Tensor, State]:
        latents_BFHWC, state = super().encode(frames_BPHWC, state)
        return latents_BFHWC.repeat(1, 1, 1, 1, self.times), state


def write_filmed(root: Path, seconds: int) -> None:
    """One recording of two people with pictures, written without holding it."""
    root.mkdir()
    level_P = (np.arange(seconds * FPS) % 200).astype(np.uint8)
    frames_PHWC = np.broadcast_to(level_P[:, None, None, None], (len(level_P), 32, 32, 3))
    for number, spans in enumerate(TURNS, start=1):
        write_video(root / f"d0_speaker{number}.mp4", frames_PHWC)
        with soundfile.SoundFile(root / f"d0_speaker{number}.wav", "w", RATE, 1, "PCM_16") as file:
            for _ in range(seconds // 30):
                file.write(tones(30.0, spans))


def taken_with_pictures(folder: Path, hours: Fraction) -> Taken:
    """Prepare what is in ``folder``, with augmentation; to be run in a process of its own."""
    torch.set_num_threads(1)
    before = processor_seconds()
    info = prepare(
        source=PairedFiles(root=folder),
        out=folder.with_name(f"{folder.name}.shards"),
        layout=Layout(),
        audio_codec=FakeAudio,
        video_codec=WideVideo,
        splits={"train": 1.0},
        workers=0,
        augment=EVERYTHING,
    )
    assert info is not None
    assert info.splits["train"]["seconds"] == float(hours * 3600)
    return Taken(resident=peak_resident(), seconds=processor_seconds() - before)


@pytest.mark.ci
def test_four_times_the_pictures_take_the_same_memory(tmp_path: Path) -> None:
    taken = {}
    for minutes in (2, 8):
        write_filmed(tmp_path / f"{minutes}", minutes * 60)
        taken[minutes] = alone(taken_with_pictures, tmp_path / f"{minutes}", Fraction(minutes, 60))
    print(taken)
    more_latents = (8 - 2) * 60 * 250_000
    assert taken[8].resident < taken[2].resident + 0.5 * more_latents


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_hours_take_the_memory_of_ten_minutes_and_sixty_times_their_cost(tmp_path: Path) -> None:
    short = alone(taken_by, tmp_path / "short", Fraction(1, 6))
    long = alone(taken_by, tmp_path / "long", Fraction(10))
    print(f"10 minutes {short}, 10 hours {long}")
    assert long.resident < short.resident + 128 * MB
    assert long.seconds < 66 * short.seconds
