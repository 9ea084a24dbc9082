"""On a GPU: every stage trains there and agents perform there, as on a CPU.

Everywhere a GPU is pretended (``pretend_gpu``), which computes what the CPU does; the tier ``gpu`` asks a real one,
where rollouts are in bfloat16 and kernels round in their own way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.utils._python_dispatch import TorchDispatchMode

from avatar_lab import precision
from avatar_lab.checkpoint import BIDIRECTIONAL_STAGE, Card, Checkpoint
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.evaluation import generate as generation
from avatar_lab.evaluation.causality import Baseline, on_the_codebook
from avatar_lab.evaluation.fallback import fallback
from avatar_lab.evaluation.generate import Generated, generate
from avatar_lab.imagine import imagining
from avatar_lab.level import Level
from avatar_lab.model import attention
from avatar_lab.precision import find_device, live_products
from avatar_lab.stage.protocol import parts_of
from avatar_lab.tensors import DyadBatch
from avatar_lab.training import fit
from avatar_lab.training.ema import EMA
from avatar_lab.training.module import StageModule
from avatar_lab.training.muon import Muon
from tests.factory import LAYOUT, SILENCE_K, random_batch, tiny_model
from tests.pretend_gpu import pretend_gpu
from tests.rollout.test_session import media, same, session
from tests.stage import test_codec
from tests.training import test_resume
from tests.training.stages import NUM_BLOCKS, STAGES, stirred

OpenGPU = Callable[[], AbstractContextManager[bool]]
STEP = 4
"""All roles take their turns at it."""
OPTIMISER = Muon(lr=0.01)
"""With AdamW for what is no matrix."""


def train(stage: Any, batch: Any) -> dict[str, float]:
    """Loss and gradient norm of each turn, and the norm of weights and averages after the updates."""
    found = {}
    for role, losses in stage.turns(batch, STEP, torch.Generator().manual_seed(STEP)):
        total = 0.0
        for part in parts_of(losses):
            part.total.backward()
            total += part.total.item()
        network = stage.roles[role]
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert any(each.count_nonzero() for each in gradients)
        found |= {f"{role} loss": total, f"{role} gradients": norm(gradients)}
        average = EMA(network, decay=0.5)
        OPTIMISER.build(network).step()
        average.update(network)
        found |= {f"{role} weights": norm(network.parameters()), f"{role} average": norm(average.shadow.values())}
    return found


def norm(tensors: Any) -> float:
    return torch.stack([each.detach().double().norm() for each in tensors]).norm().item()


def tier_of(name: str) -> pytest.MarkDecorator:
    """One stage of one turn, one of two: the others wait for the slow tier."""
    return pytest.mark.ci if name in ("teacher", "self_forcing") else pytest.mark.slow


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
    batch = random_batch(size=4, num_blocks=NUM_BLOCKS, dtype=torch.float32)
    here = train(stirred(STAGES[name](tmp_path)), batch)
    stage = stirred(STAGES[name](tmp_path))
    with gpu() as real:
        stage.roles.to("cuda")
        there = train(stage, batch.to("cuda"))
    assert there == pytest.approx(here, rel=0.05 if real else 1e-4)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains_in_bfloat16(name: str, tmp_path: Path) -> None:
    """With what CUDA's autocast casts. A token that rounding flips changes a rollout, so those may differ by more."""
    batch = random_batch(size=4, num_blocks=NUM_BLOCKS, dtype=torch.float32)
    exact = train(stirred(STAGES[name](tmp_path)), batch)
    with imagining(cuda=True, half=True):
        rounded = train(stirred(STAGES[name](tmp_path)), batch)
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=1.0 if "critic loss" in exact else 0.05)


@pytest.mark.parametrize(
    ("make", "batch"),
    [
        (test_codec.codec_stage, test_codec.clip_batch),
        (test_codec.reader_stage, test_codec.clip_batch),
        (test_codec.audio_stage, test_codec.speech_batch),
    ],
)
def test_a_codec_trains(make: Callable[[], Any], batch: Callable[[], dict[str, torch.Tensor]], gpu: OpenGPU) -> None:
    here = train(make(), batch())
    stage = make()
    with gpu() as real:
        stage.roles.to("cuda")
        there = train(stage, {name: tensor.to("cuda") for name, tensor in batch().items()})
    assert there == pytest.approx(here, rel=0.05 if real else 1e-4)


@pytest.mark.parametrize("name", [pytest.param(name, marks=tier_of(name)) for name in STAGES])
def test_a_run_is_stopped_and_goes_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole loop with its optimisers, averages and checkpoints, in a strategy whose device is the pretended one."""
    devices = set()
    step = StageModule.training_step

    def watched(module: StageModule, batch: DyadBatch, index: int) -> None:
        devices.update({module.device.type, batch.video_BFHWC.device.type})
        step(module, batch, index)

    monkeypatch.setattr(fit, "strategy_of", lambda *_: SingleDeviceStrategy(device=torch.device("cuda", 0)))
    monkeypatch.setattr(CPUAccelerator, "setup_device", lambda *_: None)  # it refuses what is no CPU
    monkeypatch.setattr(StageModule, "training_step", watched)
    with pretend_gpu(monkeypatch):
        test_resume.test_stage(tmp_path, name)
    assert devices == {"cuda"}


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
    first = LAYOUT.latents_per_block if real else None  # a token that rounding flips changes all that follows
    atol = 0.05 if real else 1e-5
    assert torch.allclose(here.latents_BFHWC[:, :first], there.latents_BFHWC[:, :first], atol=atol)
    assert real or torch.equal(here.tokens_BAK, there.tokens_BAK)


@contextmanager
def autocast_of_gpus(_device: str) -> Iterator[None]:
    """What CUDA's autocast casts, here."""
    with torch.no_grad(), imagining(cuda=True, half=True):
        yield


def test_products_in_bfloat16_change_an_agent_little(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, agent, made = random_batch(dtype=torch.float32), checkpoint(), []
    for products in (live_products, autocast_of_gpus):
        monkeypatch.setattr(generation, "live_products", products)
        made.append(generate(agent, batch, level=Level.SEE, offline=False, silence_K=SILENCE_K, seed=0))
    here, there = made
    assert there.latents_BFHWC.dtype == torch.float32
    assert not torch.equal(here.latents_BFHWC, there.latents_BFHWC)
    first = LAYOUT.latents_per_block
    assert torch.allclose(here.latents_BFHWC[:, :first], there.latents_BFHWC[:, :first], atol=0.05)


class Casts(TorchDispatchMode):
    """Counts how often each of some tensors is converted."""

    def __init__(self, watched: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.places = {each.data_ptr() for each in watched}
        self.counts: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default and args[0].data_ptr() in self.places:
            self.counts[args[0].data_ptr()] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("asked", [torch.no_grad, torch.inference_mode])
def test_copies_of_weights_last_for_a_rollout(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As plans of streaming count them; in inference mode torch would make one per use."""
    agent, batch = checkpoint(), random_batch(num_blocks=2, dtype=torch.float32)
    monkeypatch.setattr(precision, "fast_products", lambda _device: torch.autocast("cpu", torch.bfloat16))
    monkeypatch.setattr(generation, "live_products", lambda _device: live_products("cuda"))
    with asked(), Casts(agent.model.parameters()) as casts:
        generate(agent, batch, level=Level.SEE, offline=False, silence_K=SILENCE_K, seed=0)
    assert len(casts.counts) > 20
    assert max(casts.counts.values()) == 1


def test_a_session_streams(gpu: OpenGPU) -> None:
    audio, video = media(5)
    here = session().push(audio, video)
    with gpu() as real:
        there = session(device="cuda").push(audio, video)
    assert len(here) == len(there)
    assert real or same(here, there)
    audible = (here[0].audio_S - there[0].audio_S).abs().mean()
    visible = (here[0].video_PHWC.float() - there[0].video_PHWC.float()).abs().mean()
    assert audible < 0.05
    assert visible < 5


def test_exact_checks_pass(gpu: OpenGPU) -> None:
    """Strict enhancement and honest causality compare what lies on both devices."""
    batch = random_batch(num_blocks=4, dtype=torch.float32)
    with gpu():
        levels = [checkpoint(level=level) for level in (Level.SEE, Level.LISTEN)]
        for each in levels:
            each.model.to("cuda")
        found = fallback(*levels, batch, silence_K=SILENCE_K, seed=0)
        found.append(on_the_codebook(Baseline.of(levels[0], batch, level=Level.SEE, silence_K=SILENCE_K, seed=0)))
    assert all(check.passed and check.vacuous is None for check in found)


def test_flash_attention_is_used_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is installed: under autocast norms return fp32, which it does not take."""
    seen = []

    def flash(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        seen.append({x.dtype for x in (q, k, v)})
        return q

    monkeypatch.setattr(attention, "_flash_attention", lambda: flash)
    with pretend_gpu(monkeypatch):
        x = torch.ones(1, 2, 3, 4, device="cuda")
        assert attention.attend(x, x, x).dtype == torch.float32
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        try:
            assert attention.attend(x, x, x).dtype == torch.bfloat16
        finally:
            torch.set_autocast_enabled("cuda", False)
    assert seen == [{torch.bfloat16}]


def test_a_device_that_is_not_there_is_refused() -> None:
    assert find_device("cpu") == find_device("cpu:0") == torch.device("cpu")
    with pytest.raises(ValueError, match="device=cuda:99 is not on this machine"):
        find_device("cuda:99")
    with pytest.raises(ValueError, match="choose cpu, cuda"):
        find_device("gpu")
