"""On a GPU: every stage trains there and agents perform there, as on a CPU.

Everywhere a GPU is pretended (``pretend_gpu``), which computes what the CPU does; the tier ``gpu`` asks a real one,
where rollouts are in bfloat16 and kernels round in their own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from avatar_lab.checkpoint import BIDIRECTIONAL_STAGE, Card, Checkpoint
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.evaluation.causality import Baseline, on_the_codebook
from avatar_lab.evaluation.fallback import fallback
from avatar_lab.evaluation.generate import Generated, generate
from avatar_lab.level import Level
from avatar_lab.precision import find_device
from avatar_lab.stage.protocol import parts_of
from avatar_lab.tensors import DyadBatch
from avatar_lab.training.ema import EMA
from avatar_lab.training.muon import Muon
from tests.factory import SILENCE_K, random_batch, tiny_model
from tests.pretend_gpu import pretend_gpu
from tests.rollout.test_session import media, same, session
from tests.training.stages import NUM_BLOCKS, STAGES, stirred

OpenGPU = Callable[[], AbstractContextManager[bool]]
STEP = 4
"""All roles take their turns at it."""
OPTIMISER = Muon(lr=0.01)
"""With AdamW for what is no matrix."""


def train(stage: Any, batch: DyadBatch) -> dict[str, float]:
    """Loss and gradient norm of each turn, and the norm of weights and averages after the updates."""
    found = {}
    for role, losses in stage.turns(batch, STEP, torch.Generator().manual_seed(STEP)):
        total = 0.0
        for part in parts_of(losses):
            part.total.backward()
            total += part.total.item()
        network = stage.roles[role]
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        found |= {f"{role} loss": total, f"{role} gradients": norm(gradients)}
        average = EMA(network, decay=0.5)
        OPTIMISER.build(network).step()
        average.update(network)
        found |= {f"{role} weights": norm(network.parameters()), f"{role} average": norm(average.shadow.values())}
    return found


def norm(tensors: Any) -> float:
    return torch.stack([each.detach().double().norm() for each in tensors]).norm().item()


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.gpu)], ids=["pretended", "real"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OpenGPU:
    """Makes the context in which ``cuda`` is there, and whether it really is."""

    @contextmanager
    def context() -> Iterator[bool]:
        if request.param:
            yield True
        else:
            with pretend_gpu(monkeypatch):
                yield False

    if request.param and not torch.cuda.is_available():
        pytest.skip("torch finds no GPU on this machine")
    return context


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains(name: str, tmp_path: Path, gpu: OpenGPU) -> None:
    batch = random_batch(num_blocks=NUM_BLOCKS, dtype=torch.float32)
    here = train(stirred(STAGES[name](tmp_path)), batch)
    stage = stirred(STAGES[name](tmp_path))
    with gpu() as real:
        stage.roles.to("cuda")
        there = train(stage, batch.to("cuda"))
    assert there == pytest.approx(here, rel=0.05 if real else 1e-4)


def checkpoint(*, stage: str = "self_forcing", level: Level = Level.SEE) -> Checkpoint:
    card = Card(
        stage=stage,
        sampler=Sampler(steps=(1.0, 0.3), renoise=0.5),
        audio_codec="audio",
        video_codec="video",
        window_blocks=NUM_BLOCKS,
    )
    return Checkpoint(model=tiny_model(level, dtype=torch.float32), card=card)


@pytest.mark.parametrize("stage", ["self_forcing", BIDIRECTIONAL_STAGE])
def test_an_agent_performs(stage: str, gpu: OpenGPU) -> None:
    """Block by block, and window by window."""
    batch, agent = random_batch(dtype=torch.float32), checkpoint(stage=stage)

    def perform() -> Generated:
        offline = stage == BIDIRECTIONAL_STAGE
        return generate(agent, batch, level=Level.SEE, offline=offline, silence_K=SILENCE_K, seed=0)

    here = perform()
    with gpu() as real:
        agent.model.to("cuda")
        there = perform()
    assert there.tokens_BAK.device == there.latents_BFHWC.device == torch.device("cpu")
    if real:  # a token that rounding flips changes all that follows
        assert there.latents_BFHWC.shape == here.latents_BFHWC.shape
        assert there.latents_BFHWC.isfinite().all()
        return
    assert torch.equal(here.tokens_BAK, there.tokens_BAK)
    assert torch.allclose(here.latents_BFHWC, there.latents_BFHWC, atol=1e-5)


def test_a_session_streams(gpu: OpenGPU) -> None:
    audio, video = media(5)
    here = session().push(audio, video)
    with gpu() as real:
        there = session(device="cuda").push(audio, video)
    assert len(here) == len(there)
    assert real or same(here, there)


def test_exact_checks_pass(gpu: OpenGPU) -> None:
    """Strict enhancement and honest causality compare what lies on both devices."""
    batch = random_batch(num_blocks=4, dtype=torch.float32)
    with gpu():
        levels = [checkpoint(level=level) for level in (Level.SEE, Level.LISTEN)]
        for each in levels:
            each.model.to("cuda")
        found = fallback(*levels, batch, silence_K=SILENCE_K, seed=0)
        found.append(on_the_codebook(Baseline.of(levels[0], batch, level=Level.SEE, silence_K=SILENCE_K, seed=0)))
    assert all(check.passed for check in found)


def test_a_device_that_is_not_there_is_refused() -> None:
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="device=cuda:99 is not on this machine"):
        find_device("cuda:99")
    with pytest.raises(ValueError, match="choose cpu, cuda"):
        find_device("gpu")
