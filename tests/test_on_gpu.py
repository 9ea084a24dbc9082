"""On a GPU: every stage trains there and agents perform there, as on a CPU."""

from __future__ import annotations

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
from tests.pretend_gpu import OnGPU, pretend_gpu
from tests.rollout.test_session import media, same, session
from tests.training.stages import NUM_BLOCKS, STAGES, stirred

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


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = random_batch(num_blocks=NUM_BLOCKS, dtype=torch.float32)
    here = train(stirred(STAGES[name](tmp_path)), batch)
    stage = stirred(STAGES[name](tmp_path))
    with pretend_gpu(monkeypatch):
        stage.roles.to("cuda")
        there = train(stage, batch.to("cuda"))
    assert there == pytest.approx(here, rel=1e-4)


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
def test_an_agent_performs(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block by block, and window by window."""
    batch, agent = random_batch(dtype=torch.float32), checkpoint(stage=stage)

    def perform() -> Generated:
        offline = stage == BIDIRECTIONAL_STAGE
        return generate(agent, batch, level=Level.SEE, offline=offline, silence_K=SILENCE_K, seed=0)

    here = perform()
    with pretend_gpu(monkeypatch):
        agent.model.to("cuda")
        there = perform()
    assert not isinstance(there.tokens_BAK, OnGPU)
    assert torch.equal(here.tokens_BAK, there.tokens_BAK)
    assert torch.allclose(here.latents_BFHWC, there.latents_BFHWC, atol=1e-5)


def test_a_session_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    audio, video = media(5)
    expected = session().push(audio, video)
    with pretend_gpu(monkeypatch):
        assert same(session(device="cuda").push(audio, video), expected)


def test_exact_checks_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strict enhancement and honest causality compare what lies on both devices."""
    batch = random_batch(num_blocks=4, dtype=torch.float32)
    with pretend_gpu(monkeypatch):
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
