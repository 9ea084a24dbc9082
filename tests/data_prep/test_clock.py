from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avatar_lab.layout import Layout
from data_prep.steps.clock import Clock, frames_on_grid, waveform_on_grid
from data_prep.steps.scratch import ScratchArray


def test_lengths_are_whole_tokens_and_latents() -> None:
    clock = Clock.of(Layout(), 10.33)
    assert (clock.audio_tokens, clock.samples) == (129, 129 * 1920)
    assert (clock.latents, clock.frames) == (64, 256)
    assert Clock.of(Layout(), 9.9999).frames == 248


def test_equal_rates_map_one_to_one() -> None:
    index, live = frames_on_grid(np.arange(250) / 25, fps=Fraction(25), count=250)
    np.testing.assert_array_equal(index, np.arange(250))
    assert live.all()


@pytest.mark.parametrize("source_fps", [23.976, 29.97, 30.0, 50.0, 60.0])
def test_other_rates_show_the_frame_of_the_moment(source_fps: float) -> None:
    pts = np.arange(round(20 * source_fps)) / source_fps
    index, live = frames_on_grid(pts, fps=Fraction(25), count=499)
    age = np.arange(499) / 25 - pts[index]
    assert (age >= -2e-3).all()
    assert (age < 1 / source_fps).all()
    assert live.all()


def test_late_start_and_frozen_picture_are_invalid() -> None:
    pts = np.concatenate([0.4 + np.arange(50) / 25, 4.0 + np.arange(25) / 25])
    index, live = frames_on_grid(pts, fps=Fraction(25), count=125)
    assert not live[:10].any()
    assert (index[:10] == 0).all()
    assert live[10:70].all()
    assert not live[75:100].any()
    assert live[100:].all()


def test_timestamps_rounded_to_milliseconds_do_not_slip_a_frame() -> None:
    pts = np.round(np.arange(750) / 29.97, 3)
    index, _ = frames_on_grid(pts, fps=Fraction(30000, 1001), count=750)
    assert (np.diff(index) == 1).mean() > 0.99


@pytest.mark.parametrize("start", [-0.5, 0.0, 0.28])
@pytest.mark.parametrize("size", [1001, 20_000, 72_000])
def test_waveform_is_placed_at_its_media_time(start: float, size: int, tmp_path: Path) -> None:
    layout = Layout()
    clock = Clock.of(layout, 4.0)
    wav = np.arange(1, 3 * layout.sample_rate + 1, dtype=np.float32)
    on_disk = ScratchArray(tmp_path, (clock.samples,))
    pieces = [(wav[at : at + size], start) for at in range(0, len(wav), size)]
    valid = waveform_on_grid(pieces, on_disk, shift=0.0, layout=layout, clock=clock)
    placed = on_disk[:]
    assert len(placed) == clock.samples
    at = round(2.0 * layout.sample_rate)
    assert placed[at] == at - round(start * layout.sample_rate) + 1
    times = np.arange(clock.audio_tokens) * 0.08
    np.testing.assert_array_equal(valid, (times >= start - 1e-3) & (times + 0.08 <= start + 3.0 + 3e-3))
