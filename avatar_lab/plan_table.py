"""A plan as tables for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from avatar_lab.cost_model import GIB
from avatar_lab.plan import Plan


def show(plan: Plan, console: Console) -> None:
    """The plan as tables."""
    cost, device = plan.cost, plan.device
    table = Table(title=f"{plan.stage} on {plan.gpus} x {device.name}, batch {plan.batch_size}", show_header=False)
    rows = {
        "model": f"{plan.model_parameters / 1e6:,.1f} M parameters at level 3",
        "all roles": f"{cost.parameters / 1e6:,.1f} M parameters, {cost.trained / 1e6:,.1f} M trained",
        "compute": f"{cost.flops / 1e12:,.3g} TFLOP per step and device (attention counted dense)",
        "step time": f"{plan.compute_seconds:.3g} s at {plan.utilisation:.0%} of "
        f"{plan.device_flops / 1e12:,.4g} TFLOP/s",
        "weights": f"{cost.weight_bytes / GIB:.2f} GiB (fp32)",
        "gradients": f"{cost.gradient_bytes / GIB:.2f} GiB" + (" and a flat copy" if plan.gpus > 1 else ""),
        "optimisers": f"{cost.optimizer_bytes / GIB:.2f} GiB",
        "averages": f"{cost.average_bytes / GIB:.2f} GiB",
        "activations": f"{cost.activation_bytes / GIB:.2f} GiB; {cost.checkpointed_bytes / GIB:.2f} if layers are "
        "checkpointed " + ("(as here: counted in compute)" if plan.checkpointed else "(a third more compute)"),
        "memory": f"{plan.memory_bytes / GIB:.2f} GiB of {device.memory_bytes / GIB:.1f}, as configured: "
        f"{plan.strategy}, layers {'recomputed' if plan.checkpointed else 'kept'}",
        "link": plan.link if plan.gpus > 1 else "not used",
        "all-reduce": f"{plan.all_reduce_bytes / 1e9:.3g} GB per step and device, {plan.all_reduce_seconds:.3g} s, "
        "after the backward pass: "
        + ("nothing to hide" if plan.gpus == 1 else f"adds {plan.all_reduce_seconds / plan.compute_seconds:.0%}"),
        "sharded": f"{plan.sharded_bytes / 1e9:.3g} GB per step and device, {plan.sharded_seconds:.3g} s, nothing "
        "gathered ahead: "
        + ("nothing to gather" if plan.gpus == 1 else f"adds {plan.sharded_seconds / plan.compute_seconds:.0%}"),
        "run": f"{plan.steps} steps, {plan.hours:.3g} h, ${plan.dollars:,.2f} with {plan.strategy}, at an assumed "
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
