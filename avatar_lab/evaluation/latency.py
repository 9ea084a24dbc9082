"""Latency as a distribution: a live session fed block by block with real media, codecs included.

The reaction latency to a user event is what its clock implies, not a guess: an event waits for the first block whose
visible input contains it, ``start(block) - event``, between the stream's delay and one block more, plus whatever that
block took beyond the compute budget.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar_lab.evaluation.live import stream_blocks
from avatar_lab.evaluation.media import Media
from avatar_lab.layout import Layout, Stream
from avatar_lab.rollout.session import Script, Session

WARM_UP_BLOCKS = 3
SHOWN = "level3"
"""Whose latency the report draws."""
EVENTS_PER_BLOCK = 16


def latency_path(out: Path, agent: str) -> Path:
    """Where the latency of an agent lies."""
    return out / ("latency.json" if agent == SHOWN else f"latency.{agent}.json")


def measure_latency(session: Session, user: Media, script: Script) -> dict[str, Any]:
    """Plain values for ``latency.json``: block times, real-time factor, late blocks, reaction latencies."""
    blocks = list(stream_blocks(session, user, script, camera=True))
    return summarise_latency([block.timings.total for block in blocks], session.layout) | {
        "encode_p50_ms": _percentile([block.timings.encode for block in blocks], 50),
        "generate_p50_ms": _percentile([block.timings.generate for block in blocks], 50),
        "decode_p50_ms": _percentile([block.timings.decode for block in blocks], 50),
    }


def summarise_latency(block_seconds: list[float], layout: Layout) -> dict[str, Any]:
    """The distribution of block times after warm-up, the first and the last tenth of them by themselves, since a long
    conversation must not become slower, and the reaction latencies that follow from it.

    Raises:
        ValueError: there are not more blocks than the warm-up.
    """
    timed = block_seconds[WARM_UP_BLOCKS:]
    if not timed:
        raise ValueError(f"{len(block_seconds)} blocks are not enough to time; stream more than {WARM_UP_BLOCKS}")
    tenth = max(1, len(timed) // 10)
    budget = min(layout.budget(stream).compute for stream in Stream)
    values: dict[str, Any] = {f"block_p{p}_ms": _percentile(timed, p) for p in (50, 95, 99)}
    values |= {
        "block_p50_first_tenth_ms": _percentile(timed[:tenth], 50),
        "block_p50_last_tenth_ms": _percentile(timed[-tenth:], 50),
        "block_max_ms": max(timed) * 1000,
        "block_budget_ms": budget * 1000,
        "real_time_factor": sum(timed) / (len(timed) * float(layout.block_seconds)),
        "blocks": len(timed),
        "late_blocks": sum(bool(seconds > budget) for seconds in timed),
        "threads": torch.get_num_threads(),
        "block_ms": [round(seconds * 1000, 3) for seconds in timed],
    }
    for stream in Stream:
        reactions = reaction_seconds(timed, layout, stream)
        values |= {
            f"worst_reaction_{stream.value}_s": layout.worst_reaction(stream),
            f"reaction_{stream.value}_p95_s": float(np.percentile(reactions, 95)),
            f"reaction_{stream.value}_s": [round(seconds, 4) for seconds in reactions],
        }
    return values


def reaction_seconds(block_seconds: list[float], layout: Layout, stream: Stream) -> list[float]:
    """Reaction latency of user events spread evenly over the time of each block."""
    block = float(layout.block_seconds)
    waits = (np.arange(EVENTS_PER_BLOCK) + 0.5) / EVENTS_PER_BLOCK * block
    late = np.maximum(0.0, np.array(block_seconds) - layout.budget(stream).compute)
    return [float(x) for x in (layout.delay(stream) + waits[None] + late[:, None]).ravel()]


def _percentile(seconds: list[float], percent: int) -> float:
    return float(np.percentile(seconds, percent)) * 1000
