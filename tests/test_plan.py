"""A plan says what real steps do: traced figures against real ones, depth by depth, and errors that help."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from avatar_lab import plan as planning
from avatar_lab import plan_trace as tracing
from avatar_lab.config import build_layout, load
from avatar_lab.construct import build
from avatar_lab.cost_model import StepCost, all_reduce_bytes, device_named, sharded_bytes
from avatar_lab.imagine import Imagining, at_depth, at_length, flop_counter, imagined_batch
from avatar_lab.kept_tensors import Gathers, Kept
from avatar_lab.level import Level
from avatar_lab.stage.start import fresh
from avatar_lab.train import build_stage, shared_objects

CONFIGS = Path(__file__).parent.parent / "configs"
SIZES = ("tiny", "small_300m", "medium_1_3b", "large_5b")
SMALL = ["experiment=quickstart/teacher", "data.batch_size=2", "data.num_blocks=4"]


@pytest.mark.parametrize("name", SIZES)
def test_a_size_has_the_parameters_that_its_yaml_says(name: str) -> None:
    first = (CONFIGS / "model" / f"{name}.yaml").read_text().splitlines()[0]
    stated = re.match(r"# ([\d.]+) M parameters", first)
    assert stated, first
    config = load([*SMALL, f"model={name}", f"codec={'tiny' if name == 'tiny' else 'mimi_wan'}"])
    setting, size = tracing.setting_of(config, build_layout(config.layout)), tracing.size_of(config)
    with torch.device("meta"):
        model = fresh(size=size, setting=setting, level=Level.SEE, window_blocks=1).model
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(float(stated[1]), rel=0.03)


@pytest.mark.parametrize("half", [False, True])
def test_a_real_step_does_and_keeps_what_was_traced(half: bool) -> None:
    config = load(SMALL)
    shared = shared_objects(config)
    setting, size = tracing.setting_of(config, shared["layout"]), tracing.size_of(config)
    traced = tracing.trace_step(config, setting, size, batch_size=2, cuda=False, half=half)
    stage = build_stage(config, shared)
    shapes = imagined_batch(
        setting.layout, setting.audio_codec, setting.video_codec, size=2, num_blocks=4, dtype=torch.float32
    )
    batch = shapes.apply(lambda x: torch.ones(x.shape, dtype=x.dtype))
    kept = Kept(stage.roles)
    precision = MixedPrecision("bf16-mixed", "cpu") if half else Precision()  # what training enters
    with flop_counter() as counter:
        with precision.forward_context(), kept.watching(stage.roles):
            for _, losses in stage.turns(batch, 0, torch.Generator().manual_seed(0)):
                losses.total.backward()  # type: ignore[union-attr]
                activations, checkpointed = kept.total, kept.checkpointed
        gradients = sum(p.grad.nbytes for p in stage.roles.parameters() if p.grad is not None)
        optimizer = build(config.training).optimizers["teacher"].build(stage.roles["teacher"])
        optimizer.step()  # not under autocast: matrix products in bfloat16 take minutes on CPUs without instructions
    state = sum(x.numel() for s in optimizer.state.values() for x in s.values() if isinstance(x, Tensor) and x.ndim)
    assert counter.get_total_flops() == pytest.approx(traced.flops, rel=0.1)
    assert activations == pytest.approx(traced.activation_bytes, rel=0.1)
    assert checkpointed == pytest.approx(traced.checkpointed_bytes, rel=0.1)
    assert 4 * state == traced.optimizer_bytes
    assert gradients == pytest.approx(traced.gradient_bytes, rel=0.01)


class OnFakes(Imagining):
    """The same answers for fake tensors, which torch casts itself."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return self._attention(*(x.bfloat16() for x in args), **(kwargs or {}))
        if func is Tensor.__getitem__ and isinstance(args[1], Tensor) and args[1].dtype == torch.bool:
            return args[0].flatten()
        return (
            func is Tensor.__bool__ or 0.0
            if func in (Tensor.__bool__, Tensor.__float__)
            else func(*args, **kwargs or {})
        )


def test_autocast_on_gpus_keeps_what_was_traced() -> None:
    """Torch's own autocast for CUDA, on fake tensors: forward alone, as a backward pass would ask for a driver."""
    config = load(SMALL)
    setting, size = tracing.setting_of(config, build_layout(config.layout)), tracing.size_of(config)
    traced = tracing.trace_step(config, setting, size, batch_size=2, cuda=True, half=True)
    stage = tracing._stage(config, setting, size)
    shapes = imagined_batch(
        setting.layout, setting.audio_codec, setting.video_codec, size=2, num_blocks=4, dtype=torch.float32
    )

    def fake(x: Tensor) -> Tensor:
        made = torch.empty(x.shape, dtype=x.dtype, device="cuda")
        return nn.Parameter(made) if isinstance(x, nn.Parameter) else made

    with FakeTensorMode(allow_non_fake_inputs=True), OnFakes(cuda=True):
        for module in stage.roles.modules():
            for tensors in (module._parameters, module._buffers):
                tensors.update({name: fake(x) for name, x in tensors.items() if x is not None})
        kept, batch = Kept(stage.roles), shapes.apply(fake)
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        torch.set_autocast_cache_enabled(False)
        try:
            with kept.watching(stage.roles):
                _ = next(iter(stage.turns(batch, tracing.LATE, torch.Generator().manual_seed(0))))
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.set_autocast_cache_enabled(True)
    assert kept.total == pytest.approx(traced.activation_bytes, rel=0.02)
    assert kept.checkpointed == pytest.approx(traced.checkpointed_bytes, rel=0.02)


def test_a_rollout_costs_as_many_passes_as_its_student_has_steps() -> None:
    config = load(["experiment=quickstart/self_forcing", *SMALL[1:]])
    setting, size = tracing.setting_of(config, build_layout(config.layout)), tracing.size_of(config)
    flops = [
        tracing.trace_step(
            config, setting, size, batch_size=1, cuda=True, half=False, num_blocks=1, student_steps=steps
        ).flops
        for steps in (1, 2, 3)
    ]
    assert flops[2] - flops[1] == flops[1] - flops[0] > 0


def test_depth_is_extrapolated_exactly() -> None:
    config = load(SMALL)
    setting, size = tracing.setting_of(config, build_layout(config.layout)), tracing.size_of(config)

    def trace(num_layers: int) -> StepCost:
        deep = replace(size, num_layers=num_layers)
        return tracing.trace_step(config, setting, deep, batch_size=2, cuda=True, half=True)

    whole, guessed = trace(6), at_depth(trace, 6)
    for field in fields(StepCost):
        assert getattr(guessed, field.name) == pytest.approx(getattr(whole, field.name), rel=0.01), field.name


@pytest.mark.ci
@pytest.mark.parametrize("name", SIZES[1:])
def test_published_sizes_are_what_their_whole_depth_measures(name: str) -> None:
    """All layers traced one by one, against the two short networks that a plan is made from."""
    config = load([*SMALL, f"model={name}", "codec=mimi_wan"])
    setting, size = tracing.setting_of(config, build_layout(config.layout)), tracing.size_of(config)

    def trace(num_layers: int) -> StepCost:
        deep = replace(size, num_layers=num_layers)
        return tracing.trace_step(config, setting, deep, batch_size=1, cuda=True, half=True)

    whole, guessed = trace(size.num_layers), at_depth(trace, size.num_layers)
    for field in fields(StepCost):
        assert getattr(guessed, field.name) == pytest.approx(getattr(whole, field.name), rel=0.1), field.name


def test_messages_of_a_ring() -> None:
    assert all_reduce_bytes(8e9, 8) == pytest.approx(14e9)
    assert sharded_bytes(8e9, 8) == pytest.approx(7e9)
    assert all_reduce_bytes(8e9, 1) == 0


def test_beyond_one_machine_the_network_is_the_slowest_link() -> None:
    assert device_named("h100").bandwidth(8) == 450e9
    assert device_named("h100").bandwidth(16) == 50e9
    assert device_named("a100").bandwidth(9) == 25e9


def test_a_map_is_gathered_at_every_call_and_again_where_gradients_come_back() -> None:
    linear, frozen = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False).requires_grad_(False)
    gathers = Gathers()
    with gathers.watching(nn.ModuleList([linear, frozen])):
        with torch.no_grad():
            linear(frozen(torch.ones(1, 3)))
        assert gathers.gathered == 2 * 9
        frozen(linear(linear(torch.ones(1, 3)))).sum().backward()
        gathers.end_backward()
    assert gathers.gathered == (2 + 2 * 3) * 9
    assert gathers.scattered == 9


@pytest.mark.ci
def test_time_and_memory_are_those_of_the_configured_run() -> None:
    sharded, recomputed = "cluster.machine.strategy=sharded", "training.checkpoint_activations=true"
    plain, shards, both = (
        planning.make_plan([*SMALL, "model.num_layers=2", *more], gpus=2, device="cpu")
        for more in ([], [sharded], [sharded, recomputed])
    )
    assert plain.hours == pytest.approx(plain.steps * (plain.compute_seconds + plain.all_reduce_seconds) / 3600)
    assert shards.hours == pytest.approx(shards.steps * (shards.compute_seconds + shards.sharded_seconds) / 3600)
    assert 1.1 < both.cost.flops / plain.cost.flops < 1.4
    assert both.cost.gathered_bytes > 1.2 * shards.cost.gathered_bytes
    assert plain.memory_bytes > shards.memory_bytes > both.memory_bytes == plain.memory_sharded_bytes


@pytest.mark.ci
def test_products_in_fp32_take_their_own_time() -> None:
    half, single = (planning.make_plan([*SMALL, f"cluster.machine.precision={p}"]) for p in ("bf16-mixed", "32-true"))
    assert (half.device_flops, single.device_flops) == (989e12, 67e12)
    assert single.compute_seconds / half.compute_seconds == pytest.approx(989 / 67, rel=0.01)


def test_streaming_on_a_gpu_reads_weights_and_makes_copies() -> None:
    config = load(SMALL)
    setting, size = tracing.setting_of(config, build_layout(config.layout)), tracing.size_of(config)
    cost, exact = (tracing.trace_stream(setting, size, half=half) for half in (True, False))
    assert cost.weight_bytes == exact.weight_bytes
    assert exact.copied_bytes == 0
    assert 0.2 < cost.copied_bytes / cost.weight_bytes < 0.5
    slow = replace(device_named("h100"), memory_bandwidth=1.0)  # nothing but memory counts
    one, two = (cost.seconds(slow, num_steps=n, utilisation=1.0) for n in (1, 2))
    halved = 2 * cost.copied_bytes
    assert two - one == pytest.approx(cost.weight_bytes - halved + cost.copied_bytes + cost.cache_bytes)
    assert one - (two - one) == pytest.approx(cost.weight_bytes + halved + cost.cache_bytes)


def test_what_cannot_be_planned_is_said() -> None:
    with pytest.raises(ValueError, match=r"no device=h10 \(did you mean 'h100'\?\)"):
        device_named("h10")
    with pytest.raises(ValueError, match=r"data.batch_size=2 does not divide over gpus=3 .* try data.batch_size=3"):
        planning.make_plan(SMALL, gpus=3)
    with pytest.raises(ValueError, match="no codecs chosen"):
        planning.make_plan([*SMALL, "codec=none"])


@pytest.mark.ci
def test_what_does_not_fit_is_said_with_what_helps() -> None:
    plan = planning.make_plan([*SMALL, "model=large_5b", "codec=mimi_wan"], gpus=2)
    (advice,) = [line for line in plan.advice if line.startswith("does not fit")]
    assert "GiB more than the 67.1 GiB of h100" in advice
    assert plan.model_parameters == pytest.approx(5.06e9, rel=0.01)
    assert plan.memory_bytes > plan.memory_checkpointed_bytes > plan.cost.weight_bytes


@pytest.mark.ci
def test_the_command_prints_figures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["plan", *SMALL, "device=cpu", "--json"])
    planning.main()
    found = json.loads(capsys.readouterr().out)
    assert found["cost"]["flops"] > 6 * found["model_parameters"]
    assert {each["layout"] for each in found["reactions"]} == {"fps25", "fps30"}
    assert all(0 < worst < 1 for each in found["reactions"] for worst in each["worst"].values())


@pytest.mark.ci
@pytest.mark.parametrize("name", ["quickstart/self_forcing", "quickstart/see", "quickstart/preference"])
def test_rollouts_are_extrapolated_exactly(name: str) -> None:
    config = load([f"experiment={name}", "model.num_layers=1"])
    setting, size = tracing.setting_of(config, build_layout(config.layout)), tracing.size_of(config)

    def trace(num_blocks: int) -> StepCost:
        return tracing.trace_step(config, setting, size, batch_size=2, cuda=True, half=True, num_blocks=num_blocks)

    assert tracing.rolls_out(config)
    assert at_length(trace, 5) == trace(5)


def test_rollouts_that_are_too_long_are_refused() -> None:
    with pytest.raises(ValueError, match="takes too long to trace"):
        planning.make_plan(["experiment=further/long_tune"])
    with pytest.raises(ValueError, match="more than a model remembers"):
        planning.make_plan(["experiment=quickstart/self_forcing", "data.num_blocks=500"])
