"""``avatar-lab plan experiment=... gpus=8 device=h100``: what a run needs, before anything is rented.

A step of the stage's own code is traced on the meta device (``imagine.py``), so nothing has to be trained, prepared or
downloaded. Weights of earlier stages are imagined at the size of ``model=``. Codecs are not counted: they run beside
the network while streaming, and before training.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from avatar_lab.checkpoint import Checkpoint
from avatar_lab.codec.planned import PlannedAudio, PlannedVideo
from avatar_lab.config import COMPOSITION_ERRORS, RunConfig, build_layout, choices, load, sentence
from avatar_lab.construct import build
from avatar_lab.context import block_inputs, live_context
from avatar_lab.cost_model import (
    GIB,
    Device,
    StepCost,
    StreamCost,
    all_reduce_bytes,
    device_named,
    sharded_bytes,
)
from avatar_lab.diffusion.levels import block_levels
from avatar_lab.diffusion.sampler import Sampler
from avatar_lab.imagine import META, at_depth, flop_counter, imagined_batch, imagining, without_weights
from avatar_lab.layout import Layout, Stream
from avatar_lab.level import Level
from avatar_lab.model.layer import Layer
from avatar_lab.stage.protocol import Stage, parts_of
from avatar_lab.stage.start import ModelSize, Setting, fresh, imagined_artefacts
from avatar_lab.tensors import AVState
from avatar_lab.train import chosen

LATE, CYCLE = 1000, 10
"""Stages with several roles are traced over as many steps, long after the warm-up of any critic."""
MANY_STEPS = ("teacher", "autoregressive", "see_teacher")
STUDENT_STEPS = (1.0, 0.6, 0.2)
RESERVE = 0.9
"""Share of a device's memory that tensors may fill: the rest goes to the driver, kernels and fragmentation."""


def _setting(config: RunConfig, layout: Layout) -> Setting:
    codecs = build(without_weights(config.codec), layout=layout, seed=config.seed)
    if set(codecs) != {"audio_codec", "video_codec"}:
        raise ValueError("no codecs chosen: add codec=mimi_wan or codec=tiny")
    return Setting(
        layout=layout,
        audio_codec=PlannedAudio(codecs["audio_codec"].spec),
        video_codec=PlannedVideo(codecs["video_codec"].spec),
    )


def _size(config: RunConfig) -> ModelSize:
    size = build(chosen("model", config.model))
    assert isinstance(size, ModelSize)
    return size


def _stage(config: RunConfig, setting: Setting, size: ModelSize) -> Stage:
    def imagine(stage: str, level: Level, asked: Setting) -> Checkpoint:
        made = fresh(size=size, setting=asked, level=level, window_blocks=config.data["num_blocks"])
        card = replace(made.card, stage=stage)
        if stage not in MANY_STEPS:
            card = replace(card, sampler=Sampler(steps=STUDENT_STEPS, renoise=True))
        return Checkpoint(model=made.model, card=card)

    given = dict(chosen("stage", config.stage))
    if "size" in given:
        given["size"] = given["size"] | {"num_layers": size.num_layers}
    with torch.device("meta"), imagined_artefacts(imagine):
        stage: Stage = build(
            given, layout=setting.layout, audio_codec=setting.audio_codec, video_codec=setting.video_codec,
            codebook=setting.audio_codec.codebook, seed=config.seed,
        )  # fmt: skip
    for role, network in stage.roles.items():
        if role not in stage.trained:
            network.requires_grad_(False)
    return stage


class _Kept:
    """Bytes of distinct storages that autograd keeps, in all, and as if layers were checkpointed."""

    def __init__(self, networks: nn.Module) -> None:
        self.own = {parameter.untyped_storage()._cdata for parameter in networks.parameters()}
        self.own |= {buffer.untyped_storage()._cdata for buffer in networks.buffers()}
        self.layer: int | None = None
        self.clear()

    def clear(self) -> None:
        self.held: list[Tensor] = []  # a storage that is freed could lend its address to another
        self.sizes: dict[int, int] = {}
        self.by_layer: dict[int | None, int] = {}
        self.inputs = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.own and storage._cdata not in self.sizes:
            self.held.append(tensor.detach())
            self.sizes[storage._cdata] = storage.nbytes()
            self.by_layer[self.layer] = self.by_layer.get(self.layer, 0) + storage.nbytes()
        return tensor

    @property
    def total(self) -> int:
        return sum(self.sizes.values())

    @property
    def checkpointed(self) -> int:
        inside = [size for layer, size in self.by_layer.items() if layer is not None]
        return self.by_layer.get(None, 0) + self.inputs + max(inside, default=0)

    @contextmanager
    def watching(self, networks: nn.Module) -> Iterator[None]:
        """Know in which layer a tensor is kept."""

        def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
            if torch.is_grad_enabled():
                self.layer = len(self.by_layer) + 1
                self.inputs += args[0].numel() * args[0].element_size()

        def leave(*_: Any) -> None:
            self.layer = None

        hooks = []
        for module in networks.modules():
            if isinstance(module, Layer):
                hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        try:
            with saved_tensors_hooks(self.pack, lambda tensor: tensor):
                yield
        finally:
            for hook in hooks:
                hook.remove()


def trace_step(
    config: RunConfig, setting: Setting, size: ModelSize, *, batch_size: int, half: bool, compiled_masks: bool
) -> StepCost:
    """One step of ``batch_size`` windows on one device, on the network as it is; bfloat16 activations if ``half``."""
    stage = _stage(config, setting, size)
    dtype = torch.bfloat16 if half else torch.float32
    stage.roles.to(dtype)
    batch = imagined_batch(
        setting.layout, setting.audio_codec, setting.video_codec,
        size=batch_size, num_blocks=config.data["num_blocks"], dtype=dtype,
    )  # fmt: skip
    settings = build(config.training).optimizers
    optimizers = {role: settings[role].build(stage.roles[role]) for role in stage.trained}
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group.pop("fused", None)  # there is no fused kernel for tensors without values
            group["fused"] = False
    steps = range(LATE, LATE + CYCLE) if len(stage.trained) > 1 else range(LATE, LATE + 1)
    kept = _Kept(stage.roles)
    activations = checkpointed = reduced = 0
    trained = {r: sum(p.numel() for p in stage.roles[r].parameters() if p.requires_grad) for r in stage.trained}
    with imagining(compiled_masks=compiled_masks), flop_counter() as counter, kept.watching(stage.roles):
        for step in steps:
            for role, losses in stage.turns(batch, step, torch.Generator().manual_seed(step)):
                for part in parts_of(losses):
                    part.total.backward()
                    activations, checkpointed = max(activations, kept.total), max(checkpointed, kept.checkpointed)
                    kept.clear()
                optimizers[role].step()
                optimizers[role].zero_grad(set_to_none=True)
                reduced += 4 * trained[role]
    states = [x for o in optimizers.values() for state in o.state.values() for x in state.values()]
    moments = sum(x.numel() for x in states if isinstance(x, Tensor) and x.ndim)
    parameters = sum(p.numel() for p in stage.roles.parameters())
    return StepCost(
        flops=counter.get_total_flops() / len(steps),
        parameters=parameters,
        trained=sum(trained.values()),
        weight_bytes=4 * parameters + (2 * parameters if half else 0),  # bfloat16 products need copies
        gradient_bytes=4 * max(trained.values()),
        optimizer_bytes=4 * moments,
        average_bytes=4 * sum(trained[role] for role in stage.averaged),
        activation_bytes=activations,
        checkpointed_bytes=checkpointed,
        reduced_bytes=reduced / len(steps),
    )


@torch.no_grad()
def trace_stream(setting: Setting, size: ModelSize, *, half: bool) -> StreamCost:
    """A block of one conversation at level 3, after the memory of the past has filled."""
    layout, dtype = setting.layout, torch.bfloat16 if half else torch.float32
    with META:
        model = fresh(size=size, setting=setting, level=Level.SEE, window_blocks=layout.history_blocks).model.to(dtype)
    batch = imagined_batch(layout, setting.audio_codec, setting.video_codec, size=1, num_blocks=2, dtype=dtype)
    flops = []
    with imagining(compiled_masks=True):
        context = live_context(batch, layout, Level.SEE, silence_K=setting.audio_codec.silence_K.to(META))
        *_, inputs = block_inputs(context, layout)
        cache = model.net.start(batch.anchor)
        cache.num_blocks = layout.history_blocks
        state = AVState(
            audio_BAD=torch.empty(1, layout.audio_per_block, model.codebook.width, dtype=dtype, device=META),
            video_BFHWC=torch.empty(1, layout.latents_per_block, *model.net.grid, dtype=dtype, device=META),
        )
        levels = block_levels(*[torch.ones(1, 1, dtype=dtype, device=META)] * 2, model.warps, layout)
        with flop_counter() as counter:
            memory = model.net.begin_block(inputs, cache)
        flops.append(counter.get_total_flops())
        with flop_counter() as counter:
            model.estimate_block(state, levels, memory)
        flops.append(counter.get_total_flops())
        with flop_counter() as counter:
            model.net.write_block(state, memory, cache)
        flops.append(counter.get_total_flops())
    held = [*cache.keys, *cache.values, *(x for pair in cache.anchor for x in pair), cache.anchor_visible_BM]
    for window in (cache.user_audio, cache.user_video):
        held += [window.tokens_BTU, window.present_BT]
    return StreamCost(
        begin_flops=flops[0],
        predict_flops=flops[1],
        write_flops=flops[2],
        weight_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
        cache_bytes=sum(x.numel() * x.element_size() for x in held),
    )


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """Streaming on one layout; ``worst`` puts the time that a block takes in the place of the budgeted one."""

    layout: str
    cost: StreamCost
    seconds: float
    block_seconds: float
    worst: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run needs, per device where not said otherwise."""

    stage: str
    device: Device
    gpus: int
    batch_size: int
    accumulate: int
    utilisation: float
    steps: int
    model_parameters: float
    cost: StepCost
    memory_bytes: float
    memory_checkpointed_bytes: float
    memory_sharded_bytes: float
    compute_seconds: float
    all_reduce_bytes: float
    all_reduce_seconds: float
    sharded_bytes: float
    sharded_seconds: float
    hours: float
    dollars: float
    reactions: list[Reaction]
    advice: list[str]


def make_plan(
    overrides: Sequence[str], *, gpus: int = 1, device: str = "h100", utilisation: float = 0.4, student_steps: int = 3
) -> Plan:
    """Trace a run of the config on ``gpus`` devices.

    Raises:
        ValueError: the device is unknown, or the batch does not divide.
    """
    machine, config = device_named(device), load(overrides)
    if not 0 < utilisation <= 1:
        raise ValueError(f"utilisation={utilisation:g} must lie in (0, 1]: .4 is usual for transformers on GPUs")
    if gpus < 1 or student_steps < 1:
        raise ValueError(f"gpus={gpus} and student_steps={student_steps} must be at least 1")
    chosen("data", config.data)
    whole, accumulate = config.data["batch_size"], config.training["accumulate"]
    if whole % (gpus * accumulate):
        raise ValueError(
            f"data.batch_size={whole} does not divide over gpus={gpus} in training.accumulate={accumulate} parts each: "
            f"try data.batch_size={-(-whole // (gpus * accumulate)) * gpus * accumulate}"
        )
    layout = build_layout(config.layout)
    setting, size = _setting(config, layout), _size(config)

    def step(num_layers: int) -> StepCost:
        return trace_step(
            config, setting, replace(size, num_layers=num_layers),
            batch_size=whole // (gpus * accumulate), half=machine.half, compiled_masks=machine.half,
        )  # fmt: skip

    cost = at_depth(step, size.num_layers)
    cost = replace(cost, flops=cost.flops * accumulate)
    fixed = cost.weight_bytes + cost.gradient_bytes + cost.optimizer_bytes + cost.average_bytes
    flat = cost.gradient_bytes if gpus > 1 else 0.0  # gradients are averaged as one vector
    compute = cost.flops / (machine.peak_flops * utilisation)
    ring, shards = all_reduce_bytes(cost.reduced_bytes, gpus), sharded_bytes(cost.reduced_bytes, gpus)
    seconds = compute + ring / machine.link_bandwidth
    steps = config.training["steps"]
    hours = steps * seconds / 3600
    with META:
        model = fresh(size=size, setting=setting, level=Level.SEE, window_blocks=1).model
    plan = Plan(
        stage=str(config.stage["_target_"]).rpartition(".")[2],
        device=machine,
        gpus=gpus,
        batch_size=whole,
        accumulate=accumulate,
        utilisation=utilisation,
        steps=steps,
        model_parameters=sum(p.numel() for p in model.parameters()),
        cost=cost,
        memory_bytes=fixed + flat + cost.activation_bytes,
        memory_checkpointed_bytes=fixed + flat + cost.checkpointed_bytes,
        memory_sharded_bytes=fixed / gpus + cost.checkpointed_bytes,
        compute_seconds=compute,
        all_reduce_bytes=ring,
        all_reduce_seconds=ring / machine.link_bandwidth,
        sharded_bytes=shards,
        sharded_seconds=shards / machine.link_bandwidth,
        hours=hours,
        dollars=hours * gpus * machine.dollars_per_hour,
        reactions=[_reaction(name, config, size, machine, student_steps, utilisation) for name in choices("layout")],
        advice=[],
    )
    return replace(plan, advice=_advice(plan))


def _reaction(
    name: str, config: RunConfig, size: ModelSize, device: Device, num_steps: int, utilisation: float
) -> Reaction:
    layout = build_layout(load([f"layout={name}"]).layout)
    setting = _setting(config, layout)
    cost = at_depth(lambda n: trace_stream(setting, replace(size, num_layers=n), half=device.half), size.num_layers)
    seconds = cost.seconds(device, num_steps=num_steps, utilisation=utilisation)
    real = replace(
        layout,
        user_audio_delay=replace(layout.user_audio_delay, compute=seconds),
        user_video_delay=replace(layout.user_video_delay, compute=seconds),
        allow_slow_reaction=True,
    )
    return Reaction(
        layout=name,
        cost=cost,
        seconds=seconds,
        block_seconds=float(layout.block_seconds),
        worst={stream.value: real.worst_reaction(stream) for stream in Stream},
    )


def _advice(plan: Plan) -> list[str]:
    """What does not fit, by how much, and what would help."""
    said, room = [], RESERVE * plan.device.memory_bytes
    if plan.memory_bytes > room:
        helps = []
        if plan.memory_checkpointed_bytes <= room:
            helps.append(f"checkpointing layers ({plan.memory_checkpointed_bytes / GIB:.1f} GiB)")
        if plan.gpus > 1 and plan.memory_sharded_bytes <= room:
            helps.append(f"sharding weights as well ({plan.memory_sharded_bytes / GIB:.1f} GiB)")
        if plan.memory_bytes - plan.cost.activation_bytes < room:
            helps.append("a larger training.accumulate, or more gpus")
        said.append(
            f"does not fit: {(plan.memory_bytes - room) / GIB:.1f} GiB more than the {room / GIB:.1f} GiB of "
            f"{plan.device.name} that tensors may fill. What would help: "
            f"{'; '.join(helps) or 'a smaller model, or sharding over more gpus'}"
        )
    for each in plan.reactions:
        if each.seconds > each.block_seconds:
            said.append(
                f"layout={each.layout} does not stream: {each.seconds:.2f} s of computing per {each.block_seconds:g} s "
                "block; take fewer steps, a smaller model or a faster device"
            )
    return said


def show(plan: Plan, console: Console) -> None:
    """The plan as tables."""
    cost, device = plan.cost, plan.device
    table = Table(title=f"{plan.stage} on {plan.gpus} x {device.name}, batch {plan.batch_size}", show_header=False)
    rows = {
        "model": f"{plan.model_parameters / 1e6:,.1f} M parameters at level 3",
        "all roles": f"{cost.parameters / 1e6:,.1f} M parameters, {cost.trained / 1e6:,.1f} M trained",
        "compute": f"{cost.flops / 1e12:,.3g} TFLOP per step and device (attention counted dense)",
        "step time": f"{plan.compute_seconds:.3g} s at {plan.utilisation:.0%} of {device.peak_flops / 1e12:,.4g} TFLOP/s",
        "weights": f"{cost.weight_bytes / GIB:.2f} GiB" + (" (fp32, and bfloat16 copies)" if device.half else ""),
        "gradients": f"{cost.gradient_bytes / GIB:.2f} GiB" + (" and a flat copy" if plan.gpus > 1 else ""),
        "optimisers": f"{cost.optimizer_bytes / GIB:.2f} GiB",
        "averages": f"{cost.average_bytes / GIB:.2f} GiB",
        "activations": f"{cost.activation_bytes / GIB:.2f} GiB; {cost.checkpointed_bytes / GIB:.2f} if layers are "
        "checkpointed (a third more compute)",
        "memory": f"{plan.memory_bytes / GIB:.2f} GiB of {device.memory_bytes / GIB:.1f}",
        "all-reduce": f"{plan.all_reduce_bytes / 1e9:.3g} GB per step and device, {plan.all_reduce_seconds:.3g} s, after "
        "the backward pass: "
        + ("nothing to hide" if plan.gpus == 1 else f"adds {plan.all_reduce_seconds / plan.compute_seconds:.0%}"),
        "sharded": f"{plan.sharded_bytes / 1e9:.3g} GB, {plan.sharded_seconds:.3g} s, "
        + ("hides" if plan.sharded_seconds < plan.compute_seconds else "does not hide")
        + " behind compute",
        "run": f"{plan.steps} steps, {plan.hours:.3g} h, ${plan.dollars:,.2f} at an assumed "
        f"${device.dollars_per_hour:g} per device and hour (2026)",
    }
    for name, text in rows.items():
        table.add_row(name, text)
    console.print(table)
    stream = Table(title=f"streaming level 3 on one {device.name}, codecs not counted")
    for column in ("layout", "GFLOP per block", "cache MB", "seconds per block", "worst reaction to audio", "to video"):
        stream.add_column(column)
    for each in plan.reactions:
        per_block = each.cost.begin_flops + each.cost.predict_flops + each.cost.write_flops
        stream.add_row(
            f"{each.layout} ({1000 * each.block_seconds:.0f} ms)", f"{per_block / 1e9:.4g} (one step)",
            f"{each.cost.cache_bytes / 1e6:.4g}", f"{each.seconds:.3g}", *(f"{s:.2f} s" for s in each.worst.values()),
        )  # fmt: skip
    console.print(stream)
    for line in plan.advice:
        console.print(f"! {line}")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="avatar-lab plan", description="What a run needs: nothing is built or trained."
    )
    parser.add_argument("overrides", nargs="*", help="as for train; and gpus=, device=, utilisation=, student_steps=")
    parser.add_argument("--json", action="store_true", help="figures instead of tables")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    kinds = {"gpus": int, "device": str, "utilisation": float, "student_steps": int}
    own = {k: v for k, _, v in (each.partition("=") for each in given.overrides) if k in kinds}
    try:
        rest = [each for each in given.overrides if each.partition("=")[0] not in kinds]
        plan = make_plan(rest, **{key: kinds[key](value) for key, value in own.items()})  # type: ignore[arg-type]
    except COMPOSITION_ERRORS as error:
        sys.exit(f"error: {sentence(error)}")
    except ValueError as error:
        sys.exit(f"error: {error}")
    if given.json:
        print(json.dumps(asdict(plan), indent=2))
    else:
        show(plan, Console())


if __name__ == "__main__":
    main()
