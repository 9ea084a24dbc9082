"""Every real stage at its tiniest, on random data: one factory per stage, each given a folder for artefacts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.codec.protocol import AudioSpec, VideoSpec
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.level import Level
from avatar_lab.objective.conditions import ConditionRates
from avatar_lab.stage.autoregressive import Autoregressive
from avatar_lab.stage.consistency import InitialiseByConsistency
from avatar_lab.stage.initialise import Initialise
from avatar_lab.stage.long_tune import LongTune
from avatar_lab.stage.preference import Preference
from avatar_lab.stage.see import See
from avatar_lab.stage.see_teacher import SeeTeacher
from avatar_lab.stage.self_forcing import SelfForcing
from avatar_lab.stage.start import ModelSize, Setting, fresh
from avatar_lab.stage.teacher import Teacher
from avatar_lab.tensors import DyadBatch
from tests.factory import CODEBOOKS, ENTRIES, GRID, LAYOUT, SILENCE_K, WIDTH, random_batch, tiny_codebook

NUM_BLOCKS = 3
SIZE = ModelSize(width=24, num_heads=2, num_layers=2, patch=1)
RATES = ConditionRates()
FEW_STEPS = [1.0, 0.3]


def fake_codecs() -> dict[str, Any]:
    """What stages ask of codecs: tables, silence and facts, no networks."""
    audio = AudioSpec(
        name="fake_audio",
        sample_rate=LAYOUT.sample_rate,
        token_rate=Fraction(LAYOUT.audio_rate),
        num_codebooks=CODEBOOKS,
        codebook_size=ENTRIES,
        embedding_width=WIDTH,
        fingerprint="a" * 16,
    )
    rows, columns, channels = GRID
    video = VideoSpec(
        name="fake_video",
        frames_per_latent=LAYOUT.frames_per_latent,
        frame_height=8,
        frame_width=8,
        grid_height=rows,
        grid_width=columns,
        channels=channels,
        warm_latents=1,
        fingerprint="b" * 16,
    )
    return {
        "layout": LAYOUT,
        "audio_codec": SimpleNamespace(codebook=tiny_codebook(), silence_K=SILENCE_K, spec=audio),
        "video_codec": SimpleNamespace(spec=video),
    }


def artefact(folder: Path, stage: str, level: Level, *, noise: float = 0.0) -> str:
    """An artefact of ``stage``, with weights that a seed fixes; ``noise`` on them opens gates and heads, which are zero
    in a fresh one."""
    path = folder / f"{stage}.safetensors"
    if not path.exists():
        torch.manual_seed(len(stage))
        made: Checkpoint = fresh(size=SIZE, level=level, window_blocks=NUM_BLOCKS, setting=Setting(**fake_codecs()))
        stir(made.model, noise)
        sampler = Sampler(steps=tuple(FEW_STEPS), renoise=1.0)
        Checkpoint(model=made.model, card=replace(made.card, stage=stage, sampler=sampler)).save(path)
    return str(path)


class RandomDyads:
    """A batch source of random conversations, a pure function of the step."""

    def loader(self, start_step: int, num_workers: int) -> Iterator[DyadBatch]:
        step = start_step
        while True:
            yield random_batch(num_blocks=NUM_BLOCKS, dtype=torch.float32, seed=step)
            step += 1


def seeded(make: Callable[..., Any], **arguments: Any) -> Any:
    torch.manual_seed(0)
    return make(**arguments, **fake_codecs())


def stirred(stage: Any) -> Any:
    """``stage`` with noise on its weights: fresh heads and gates are zero, and let no gradient through."""
    stir(stage.roles, 0.1)
    return stage


def stir(network: nn.Module, scale: float) -> None:
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=rng)


STAGES: dict[str, Callable[[Path], Any]] = {
    "teacher": lambda folder: seeded(Teacher, size=SIZE, rates=RATES, fit_warp_at=8, window_blocks=NUM_BLOCKS),
    "autoregressive": lambda folder: seeded(Autoregressive, init=artefact(folder, "teacher", Level.SEE), rates=RATES),
    "initialise": lambda folder: seeded(
        Initialise,
        init=artefact(folder, "autoregressive", Level.LISTEN),
        steps=FEW_STEPS,
        substeps=2,
        rates=RATES,
    ),
    "initialise_by_consistency": lambda folder: seeded(
        InitialiseByConsistency,
        init=artefact(folder, "autoregressive", Level.LISTEN),
        steps=FEW_STEPS,
        intervals=4,
        rates=RATES,
    ),
    "self_forcing": lambda folder: seeded(
        SelfForcing,
        init=artefact(folder, "initialise", Level.LISTEN),
        teacher=artefact(folder, "autoregressive", Level.LISTEN),
        student_every=2,
        critic_warmup=2,
        rates=RATES,
    ),
    "long_tune": lambda folder: seeded(
        LongTune,
        init=artefact(folder, "self_forcing", Level.LISTEN),
        teacher=artefact(folder, "autoregressive", Level.LISTEN),
        student_every=2,
        critic_warmup=2,
        scored_blocks=2,
        replay="blocks",
        all_steps=True,
        guidance_own_audio=2.0,
        rates=RATES,
    ),
    "preference": lambda folder: seeded(
        Preference,
        init=artefact(folder, "self_forcing", Level.LISTEN),
        beta_audio=1.0,
        beta_video=1.0,
        rates=RATES,
    ),
    "see_teacher": lambda folder: seeded(
        SeeTeacher, init=artefact(folder, "autoregressive", Level.LISTEN), rates=RATES
    ),
    "see": lambda folder: seeded(
        See,
        init=artefact(folder, "self_forcing", Level.LISTEN),
        teacher=artefact(folder, "see_teacher", Level.SEE, noise=0.1),
        student_every=2,
        critic_warmup=0,
        rates=RATES,
    ),
}
"""To add a stage to the tests of exact resume, add it here."""
