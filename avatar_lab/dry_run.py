"""``+dry_run=true``: what a run would cost, without training.

Networks are first built on the meta device, which takes no memory. If they are small enough to hold, one real step on
one real batch is measured: FLOPs by torch's counter, activations by what autograd keeps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from avatar_lab.imagine import flop_counter
from avatar_lab.kept_tensors import Kept
from avatar_lab.layout import Layout, Stream
from avatar_lab.stage.protocol import Stage, parts_of
from avatar_lab.tensors import TensorRecord
from avatar_lab.training.protocol import BatchSource

log = logging.getLogger(__name__)

MEASURED_PARAMETERS = 100_000_000
"""Networks up to this size are built for real and measured for one step."""

BYTES_PER_TRAINED_PARAMETER = 16
"""Weight, gradient and two Adam moments in fp32."""


def describe(layout: Layout, make_stage: Callable[[], Stage], make_data: Callable[[], BatchSource]) -> None:
    """Log clock, networks, memory, one batch and one step of a run."""
    _describe_layout(layout)
    with torch.device("meta"):
        stage = make_stage()
    total = _describe_roles(stage)
    try:
        batch = next(make_data().loader(0, 0))
    except (OSError, ValueError) as error:
        log.info("batch    none: %s", error)
        return
    for name, tensor in tensors_of(batch):
        log.info("batch    %-28s %s %s", name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
    if total > MEASURED_PARAMETERS:
        log.info("step     not measured: more than %d M parameters", MEASURED_PARAMETERS // 10**6)
        return
    _describe_step(make_stage(), batch)


def _describe_layout(layout: Layout) -> None:
    log.info(
        "layout   block %.0f ms = %d audio tokens + %d latents (%d frames); worst reaction %s",
        1000 * float(layout.block_seconds), layout.audio_per_block, layout.latents_per_block, layout.frames_per_block,
        ", ".join(
            f"{layout.worst_reaction(stream):.2f} s to {stream.value} "
            f"(earliest {layout.earliest_reaction(stream):.2f}, mean {layout.mean_reaction(stream):.2f})"
            for stream in Stream
        ),
    )  # fmt: skip


def _describe_roles(stage: Stage) -> int:
    total = memory = 0
    for role, network in stage.roles.items():
        frozen = role not in stage.trained
        parameters = sum(p.numel() for p in network.parameters())
        trained = 0 if frozen else sum(p.numel() for p in network.parameters() if p.requires_grad)
        averaged = trained if role in stage.averaged else 0
        part = 4 * (parameters - trained) + BYTES_PER_TRAINED_PARAMETER * trained + 4 * averaged
        log.info(
            "role     %-12s %10.3f M parameters, %10.3f M trained, %s",
            role, parameters / 1e6, trained / 1e6, size(part),
        )  # fmt: skip
        total, memory = total + parameters, memory + part
    log.info("memory   %s for weights, gradients, optimisers and averages in fp32", size(memory))
    return total


def _describe_step(stage: Stage, batch: Any) -> None:
    kept, activations = Kept(stage.roles), 0
    rng = torch.Generator().manual_seed(0)
    with flop_counter() as counter, kept.watching(stage.roles):
        for role, losses in stage.turns(batch, 0, rng):
            for part in parts_of(losses):
                part.total.backward()
                terms = ", ".join(f"{name} {value:.3g}" for name, value in part.scalars().items())
                log.info("turn     %-12s %s", role, terms)
                activations = max(activations, kept.total)
                kept.clear()  # one graph at a time
    flops = counter.get_total_flops() / 1e9
    log.info("step     %.3f GFLOP forward and backward, %s of activations", flops, size(activations))


def tensors_of(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors of a batch with their dotted names."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, TensorRecord):
        for field in fields(value):
            yield from tensors_of(getattr(value, field.name), f"{name}.{field.name}".lstrip("."))
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from tensors_of(part, f"{name}.{key}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from tensors_of(part, f"{name}.{index}".lstrip("."))


def size(count: float) -> str:
    """Bytes for humans."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
