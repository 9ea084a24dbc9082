"""Motion and sound of rollouts, on states whose answer is known; losses by noise level."""

from __future__ import annotations

import pytest
import torch

from avatar_lab.objective.liveliness import liveliness
from avatar_lab.objective.losses import by_noise_level
from avatar_lab.tensors import AVState

SILENCE_D = torch.tensor([1.0, -1.0])
EVERYWHERE = {"audio_BA": torch.ones(2, 8, dtype=torch.bool), "video_BF": torch.ones(2, 4, dtype=torch.bool)}


def state(scale: float, seed: int = 0) -> AVState:
    rng = torch.Generator().manual_seed(seed)
    audio = SILENCE_D + scale * torch.randn(2, 8, 2, generator=rng)
    return AVState(audio_BAD=audio, video_BFHWC=5 + scale * torch.randn(2, 4, 2, 2, 3, generator=rng))


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.0])
def test_ratios_are_those_of_the_amplitudes(scale: float) -> None:
    found = liveliness(state(scale), state(1.0), silence_D=SILENCE_D, **EVERYWHERE)
    assert set(found) == {"rollout/motion", "rollout/sound"}
    assert all(float(value) == pytest.approx(scale, abs=1e-5) for value in found.values())


def test_only_what_was_generated_and_recorded_counts() -> None:
    made, recorded = state(1.0), state(1.0)
    made.video_BFHWC[:, 2:] = 0
    made.audio_BAD[1] = 40
    audio_BA, video_BF = EVERYWHERE["audio_BA"].clone(), EVERYWHERE["video_BF"].clone()
    audio_BA[1], video_BF[:, 2:] = False, False
    found = liveliness(made, recorded, silence_D=SILENCE_D, audio_BA=audio_BA, video_BF=video_BF)
    assert all(float(value) == pytest.approx(1.0) for value in found.values())


def test_a_still_and_silent_recording_says_nothing() -> None:
    assert liveliness(state(1.0), state(0.0), silence_D=SILENCE_D, **EVERYWHERE) == {}
    nowhere = {name: torch.zeros_like(mask) for name, mask in EVERYWHERE.items()}
    assert liveliness(state(1.0), state(1.0), silence_D=SILENCE_D, **nowhere) == {}


def test_losses_fall_into_the_quarter_of_their_noise_level() -> None:
    level = torch.tensor([[0.0, 0.1, 0.25], [0.26, 0.9, 1.0]])
    value = torch.tensor([[100.0, 1.0, 3.0], [5.0, 7.0, 9.0]])
    mask = torch.ones(2, 3, dtype=torch.bool)
    mask[1, 2] = False
    found = by_noise_level("audio", value, level, mask)
    assert {name: float(each) for name, each in found.items()} == {
        "audio/noise_0.00": 2.0,
        "audio/noise_0.25": 5.0,
        "audio/noise_0.75": 7.0,
    }
