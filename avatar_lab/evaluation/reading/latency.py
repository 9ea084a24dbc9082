"""How long blocks of a live session took, and how late the avatar can react."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from avatar_lab.evaluation.bars import BLOCK_P95_LIMIT_MS, REAL_TIME_LIMIT
from avatar_lab.evaluation.plots import latency_figure
from avatar_lab.evaluation.reading.result import Result
from avatar_lab.figure_style import STYLE, Svg, as_svg
from avatar_lab.layout import MAX_REACTION_SECONDS, Stream

SMOOTH_BLOCKS = 15
HOW = "evaluate with latency_seconds=40; agents that are measured already are not measured again"
HEARD, SEEN = Stream.USER_AUDIO.value, Stream.USER_VIDEO.value


def read_latency(result: Result) -> dict[str, Any]:
    """``latency.json``.

    Raises:
        ValueError: latency was not measured.
    """
    return result.json(result.folder / "latency.json", how=HOW)


def latency_table(latency: Mapping[str, Any]) -> pd.DataFrame:
    """What was measured, beside the bar where there is one."""
    rows = [
        ("real-time factor", f"{latency['real_time_factor']:.3f}", f"< {REAL_TIME_LIMIT:g}"),
        ("block, median", f"{latency['block_p50_ms']:.0f} ms", ""),
        *(
            (f"median of the {part} tenth", f"{latency[f'block_p50_{part}_tenth_ms']:.0f} ms", "")
            for part in ("first", "last")
            if f"block_p50_{part}_tenth_ms" in latency
        ),
        ("block, 95 %", f"{latency['block_p95_ms']:.0f} ms", f"< {BLOCK_P95_LIMIT_MS:g} ms"),
        ("block, 99 %", f"{latency['block_p99_ms']:.0f} ms", ""),
        ("block, slowest", f"{latency['block_max_ms']:.0f} ms", ""),
        *((f"median of it: {part}", f"{latency[f'{part}_p50_ms']:.0f} ms", "") for part in _parts(latency)),
        ("late blocks", f"{latency['late_blocks']} of {latency['blocks']}", ""),
    ]
    for name, stream in (("voice", HEARD), ("face", SEEN)):
        worst, most = latency[f"worst_reaction_{stream}_s"], latency[f"reaction_{stream}_p95_s"]
        rows.append((f"reaction to the user's {name}, 95 %", f"{most:.2f} s", f"< {MAX_REACTION_SECONDS:g} s"))
        rows.append((f"reaction to the user's {name}, worst if never late", f"{worst:.2f} s", ""))
    rows.append(("device", latency.get("device", "cpu"), ""))
    rows.append(("threads", str(latency["threads"]), ""))
    return pd.DataFrame(rows, columns=["", "measured", "bar"]).set_index("")


def _parts(latency: Mapping[str, Any]) -> list[str]:
    """Parts of a block that were timed by themselves."""
    return [part for part in ("encode", "generate", "decode") if f"{part}_p50_ms" in latency]


def distribution_figure(latency: Mapping[str, Any]) -> Svg:
    """Left: how many blocks took at most so long, beside the budget. Right: reaction latency, beside 1 s."""
    reactions = {
        "to the user's voice": np.array(latency[f"reaction_{HEARD}_s"]),
        "to the user's face": np.array(latency[f"reaction_{SEEN}_s"]),
    }
    return Svg(latency_figure(np.array(latency["block_ms"]), reactions, budget_ms=latency["block_budget_ms"]))


def session_figure(latency: Mapping[str, Any]) -> Svg:
    """Block after block as the session went on: a slope would mean that it gets slower."""
    block_ms_N, budget = np.array(latency["block_ms"]), latency["block_budget_ms"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 2.4), layout="constrained")
        ax = figure.subplots()
        late_N = block_ms_N > budget
        number_N = np.arange(len(block_ms_N))
        ax.plot(number_N[~late_N], block_ms_N[~late_N], ".", color="#2a7f9e", ms=4, label="in time")
        ax.plot(number_N[late_N], block_ms_N[late_N], ".", color="#d1495b", ms=6, label="late")
        size = min(SMOOTH_BLOCKS, len(block_ms_N))
        medians_N = pd.Series(block_ms_N).rolling(size, center=True, min_periods=1).median()
        ax.plot(number_N, medians_N, color="#222222", lw=1.2, label=f"median of {size}")
        ax.axhline(budget, color="#444444", lw=1, ls="--")
        ax.text(len(block_ms_N), budget, "budget ", color="#444444", fontsize=8, va="bottom", ha="right")
        ax.set_ylim(0, max(budget * 1.15, float(block_ms_N.max()) * 1.05))
        ax.set_title("one block after the other")
        ax.set_xlabel("block of the session")
        ax.set_ylabel("milliseconds of wall time")
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
        return as_svg(figure)
