"""``avatar-lab plan experiment=... gpus=8 device=h100``: what a run needs, before anything is rented.

A step of the stage's own code is traced on the meta device (``imagine.py``), so nothing has to be trained, prepared or
downloaded; stages that roll a student out take a minute. Weights of earlier stages are imagined at the size of
``model=``. Codecs are not counted: they run beside the network while streaming, and before training.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from rich.console import Console

from avatar_lab.config import COMPOSITION_ERRORS, RunConfig, build_layout, choices, load, sentence
from avatar_lab.cost_model import GIB, Device, StepCost, StreamCost, all_reduce_bytes, device_named, sharded_bytes
from avatar_lab.imagine import META, at_depth, at_length
from avatar_lab.layout import Stream
from avatar_lab.level import Level
from avatar_lab.plan_trace import rolls_out, setting_of, size_of, trace_step, trace_stream
from avatar_lab.stage.start import ModelSize, fresh
from avatar_lab.train import chosen

RESERVE = 0.9
"""Share of a device's memory that tensors may fill: the rest goes to the driver, kernels and fragmentation."""


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
    device_flops: float
    """Per second, of products as configured."""
    steps: int
    model_parameters: float
    cost: StepCost
    strategy: str
    checkpointed: bool
    link: str
    memory_bytes: float
    """Of the run as configured."""
    memory_checkpointed_bytes: float
    memory_sharded_bytes: float
    compute_seconds: float
    all_reduce_bytes: float
    all_reduce_seconds: float
    sharded_bytes: float
    sharded_seconds: float
    hours: float
    """Of the run as configured: with the traffic of its strategy, and with recomputation if it recomputes."""
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
    if "num_blocks" not in chosen("data", config.data):
        raise ValueError(
            f"{config.data['_target_']} does not say how long its windows are: plan a run with data=shards"
        )
    whole, accumulate = config.data["batch_size"], config.training["accumulate"]
    if whole % (gpus * accumulate):
        raise ValueError(
            f"data.batch_size={whole} does not divide over gpus={gpus} in training.accumulate={accumulate} parts each: "
            f"try data.batch_size={-(-whole // (gpus * accumulate)) * gpus * accumulate}"
        )
    layout = build_layout(config.layout)
    setting, size = setting_of(config, layout), size_of(config)

    sharded = config.cluster["machine"]["strategy"] == "sharded"
    precision = config.cluster["machine"]["precision"]
    if precision == "64-true":
        raise ValueError("cluster.machine.precision=64-true cannot be planned: choose auto, 32-true or bf16-mixed")
    half = precision == "bf16-mixed" or (precision == "auto" and machine.half)
    checkpointed = bool(config.training["checkpoint_activations"])

    def step(num_layers: int, num_blocks: int) -> StepCost:
        return trace_step(
            config, setting, replace(size, num_layers=num_layers), num_blocks=num_blocks,
            batch_size=whole // (gpus * accumulate), cuda=machine.half, half=half, student_steps=student_steps,
        )  # fmt: skip

    window = int(config.data["num_blocks"])
    if rolls_out(config) and window > layout.history_blocks:
        raise ValueError(
            f"data.num_blocks={window} is more than a model remembers (layout.history_blocks={layout.history_blocks}), "
            "so what a rollout costs does not follow from a short one: plan it with windows no longer than that"
        )
    long = at_length if rolls_out(config) else (lambda trace, blocks: trace(blocks))
    cost = at_depth(lambda num_layers: long(partial(step, num_layers), window), size.num_layers)
    each_part = {name: accumulate * getattr(cost, name) for name in ("flops", "gathered_bytes", "scattered_bytes")}
    cost = replace(cost, **each_part)
    if checkpointed:  # by the usual shares, not traced: 4 forwards' worth instead of 3, 3 gathers instead of 2
        cost = replace(cost, flops=cost.flops * 4 / 3, gathered_bytes=cost.gathered_bytes * 3 / 2)
    rate = machine.flops(half=half)
    compute = cost.flops / (rate * utilisation)
    ring = all_reduce_bytes(cost.reduced_bytes, gpus)
    shards = sharded_bytes(cost.gathered_bytes + cost.scattered_bytes, gpus) + all_reduce_bytes(cost.whole_bytes, gpus)
    bandwidth = machine.bandwidth(gpus)
    seconds = compute + (shards if sharded else ring) / bandwidth
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
        device_flops=rate,
        steps=steps,
        model_parameters=sum(p.numel() for p in model.parameters()),
        cost=cost,
        strategy="sharded" if sharded else "replicas",
        checkpointed=checkpointed,
        link=f"{bandwidth / 1e9:g} GB/s "
        + ("inside one machine" if gpus <= machine.gpus_per_node else f"between machines of {machine.gpus_per_node}"),
        memory_bytes=cost.memory(gpus, sharded=sharded, checkpointed=checkpointed),
        memory_checkpointed_bytes=cost.memory(gpus, sharded=False, checkpointed=True),
        memory_sharded_bytes=cost.memory(gpus, sharded=True, checkpointed=True),
        compute_seconds=compute,
        all_reduce_bytes=ring,
        all_reduce_seconds=ring / bandwidth,
        sharded_bytes=shards,
        sharded_seconds=shards / bandwidth,
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
    setting = setting_of(config, layout)
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
        replicas = plan.strategy == "replicas"
        if replicas and not plan.checkpointed and plan.memory_checkpointed_bytes <= room:
            helps.append(f"checkpointing layers ({plan.memory_checkpointed_bytes / GIB:.1f} GiB)")
        if plan.gpus > 1 and (replicas or not plan.checkpointed) and plan.memory_sharded_bytes <= room:
            change = "sharding weights as well" if replicas else "checkpointing layers as well"
            helps.append(f"{change} ({plan.memory_sharded_bytes / GIB:.1f} GiB)")
        kept = plan.cost.kept_bytes(sharded=not replicas, checkpointed=plan.checkpointed)
        if plan.memory_bytes - kept < room:
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
        plan = make_plan(rest, **{key: kinds[key](value) for key, value in own.items()})
    except COMPOSITION_ERRORS as error:
        sys.exit(f"error: {sentence(error)}")
    except ValueError as error:
        sys.exit(f"error: {error}")
    if given.json:
        sys.stdout.write(json.dumps(asdict(plan), indent=2) + "\n")
    else:
        from avatar_lab.plan_table import show  # it knows plans

        show(plan, Console())


if __name__ == "__main__":
    main()
