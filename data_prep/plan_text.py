"""A plan for people: what is measured, what is extrapolated from how much, and how sure that is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from data_prep.estimate import CONFIDENCE, Estimate
from data_prep.plan import ENCODING, Plan
from data_prep.progress import duration
from data_prep.timed_sample import PLAN_FOLDER


def write_plan(work: Path, plan: Plan) -> None:
    """``plan.json`` in the work folder's folder of plans, and the text to the terminal."""
    path = work / PLAN_FOLDER / "plan.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plan.to_plain(), indent=1) + "\n")
    sys.stdout.write(as_text(plan))


def as_text(plan: Plan) -> str:
    """Lines of a table, then how to read it."""
    encode = [
        _row("encoding", plan.encode_gpu_hours, _hours, "GPU-hours (a worker holding the GPU)")
        if plan.encode_gpu_hours.value
        else _row("encoding", plan.encode_core_hours, _hours, "core-hours"),
    ]
    collect = _row(
        "and then", plan.collect_seconds, duration, "to collect the results and write the shards, one process"
    )
    rows = [
        _row("recordings", plan.usable, _count, f"of {plan.recordings}" + _dropped(plan)),
        _row("conversation", plan.hours, lambda hours: f"{hours:.3g} h"),
        _row("source frames", plan.frames, _count, "of both people, to be decoded"),
        _row("bytes in", plan.bytes_in, _bytes),
        _row("decoding", plan.decode_core_hours, _hours, "core-hours"),
        *(encode if plan.steps is None or ENCODING & set(plan.steps) else []),
        _row("other steps", plan.other_core_hours, _hours, "core-hours"),
        _row("step results", plan.result_bytes, _bytes, "in the work folder; may be deleted afterwards"),
        *([_row("shards", plan.shard_bytes, _bytes)] if plan.steps is None else []),
        _row("time", plan.prepare_seconds, duration, _processes(plan)),
        *([collect] if plan.steps is None else []),
    ]
    return "\n".join([*rows, "", *_remarks(plan)]) + "\n"


def _remarks(plan: Plan) -> list[str]:
    if plan.headers == plan.population:
        lengths = f"Measured: lengths and bytes, by the headers of all {plan.headers} recordings that have both people."
    else:
        lengths = (
            f"Extrapolated: lengths and bytes, by the headers of {plan.headers} of {plan.population} recordings, drawn "
            "by hash; plan_sample.headers reads more."
        )
    if plan.timed:
        speed = (
            f"Extrapolated: everything else, from {plan.timed} recordings ({plan.timed_seconds:.0f} s) that were "
            "prepared and timed just now or in an earlier plan; their results are kept."
        )
    else:
        speed = "No recording could be timed: all that were looked at are prepared already, or cannot be used."
    remarks = [
        lengths,
        speed,
        f"Intervals hold {CONFIDENCE:.0%} of the differences between recordings; another machine, its load, and a disk "
        "that slows down under it are not in them.",
    ]
    if plan.timed == 1:
        remarks.append(
            "One timed recording shows no differences: take its interval as a guess, or raise plan_sample.seconds."
        )
    if plan.stored_share:
        remarks.append(f"About {plan.stored_share:.0%} are prepared already; hours of work and time are for the rest.")
    if plan.skipped_when_timed:
        remarks.append(f"Dropped when timed, although their headers look usable: {_listed(plan.skipped_when_timed)}.")
    busy = plan.workers * plan.cores_per_worker
    if busy > plan.cores:
        remarks.append(
            f"{plan.workers} workers would keep {busy:.0f} cores busy, this machine has {plan.cores}: the time above "
            f"counts that in; {max(1, int(plan.cores / plan.cores_per_worker))} workers do as well."
        )
    return remarks


def _row(name: str, estimate: Estimate, said: Callable[[float], str], note: str = "") -> str:
    interval = f"[{said(estimate.low)} ... {said(estimate.high)}]" if estimate.spread else ""
    return f"{name:<14}{said(estimate.value):>14}  {interval:<32}{note}".rstrip()


def _processes(plan: Plan) -> str:
    each = "one process" if plan.workers <= 1 else f"{plan.workers} workers"
    return f"{plan.tasks} tasks of {each}, side by side" if plan.tasks > 1 else each


def _dropped(plan: Plan) -> str:
    return f"; not usable: {_listed(plan.dropped)}" if plan.dropped else ""


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())


def _count(value: float) -> str:
    return f"{value / 1e6:.3g} M" if value >= 1e6 else f"{value:.0f}"


def _hours(value: float) -> str:
    return f"{value:.3g}"


def _bytes(value: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e3:.3g} kB"
