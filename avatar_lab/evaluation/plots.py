"""Figures of the report as inline SVG: event-locked response curves, latency distribution, loss curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from avatar_lab.evaluation.agents import Agent, ModelAgent, ReferenceAgent
from avatar_lab.evaluation.estimates import AgentMetric
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.evaluation.responses import CURVE_BIN, WINDOW, curve_bins
from avatar_lab.evaluation.statistics import Array, mean_of, resample
from avatar_lab.figure_style import STYLE, as_svg, axes_in_rows
from avatar_lab.layout import MAX_REACTION_SECONDS

BAND_RESAMPLES = 1000
MAX_CURVE_POINTS = 400
LINES = {"delayed_oracle": "--", "yoked": ":", "frozen": ":", "level3_camera_off": "--"}
"""Of agents that would hide another one, or are only there to be compared with."""


@dataclass(frozen=True, kw_only=True)
class ResponseCurve:
    """Onsets per second around cues and around matched moments, one row per dyad: counts and numbers of events.

    D dyads   N bins of ``responses.curve_bins``
    """

    agent: str
    cue_counts_DN: Array
    cues_D: Array
    control_counts_DN: Array
    controls_D: Array

    def excess(self) -> Array:
        """Rate around cues minus the rate after matched moments, per second, (N,)."""
        cue_N = self.cue_counts_DN.sum(0) / max(self.cues_D.sum(), 1) / CURVE_BIN
        return cue_N - self._base()

    def band(self, seed: int) -> tuple[Array, Array]:
        """95 % interval of the rate around cues minus the same baseline, by dyad."""
        per_bin = []
        for counts_D in self.cue_counts_DN.T:
            rate_D = np.divide(counts_D, self.cues_D, out=np.zeros_like(counts_D), where=self.cues_D > 0) / CURVE_BIN
            draws_R = resample(mean_of(rate_D, self.cues_D), len(rate_D), seed=seed, resamples=BAND_RESAMPLES)
            per_bin.append(np.nanquantile(draws_R, [0.025, 0.975]))
        low_N, high_N = np.array(per_bin).T
        return low_N - self._base(), high_N - self._base()

    def _base(self) -> float:
        """Rate in the response window after matched moments; outside it, responses to neighbouring cues come in."""
        bins_N = curve_bins()
        within_N = (bins_N > WINDOW[0] - CURVE_BIN / 2) & (bins_N + CURVE_BIN < WINDOW[1] + CURVE_BIN / 2)
        return float(self.control_counts_DN[:, within_N].mean(1).sum() / max(self.controls_D.sum(), 1) / CURVE_BIN)


def forest_figure(cells: Sequence[AgentMetric], metrics: Sequence[str], agents: Sequence[Agent]) -> str:
    """One panel per metric: value and interval of every agent, models above, references below."""
    found = {(cell.agent, cell.metric): cell.estimate for cell in cells}
    with mpl.rc_context(STYLE):
        figure, axes = axes_in_rows(len(metrics), columns=len(metrics), height=0.28 * len(agents) + 0.7)
        for index, (ax, metric) in enumerate(zip(axes, metrics, strict=True)):
            ax.axvline(0, color="#cccccc", lw=0.8)
            for row, agent in enumerate(agents):
                estimate = found[agent.name, metric]
                if estimate.value is None:
                    ax.text(0, row, "  undefined", color="#aaaaaa", fontsize=7, va="center")
                    continue
                if estimate.low is not None and estimate.high is not None:
                    ax.plot([estimate.low, estimate.high], [row, row], color=agent.colour, lw=2, alpha=0.5)
                ax.plot(estimate.value, row, "o", color=agent.colour, ms=5)
            ax.set_ylim(len(agents) - 0.5, -0.5)
            ax.set_yticks(range(len(agents)), [agent.title for agent in agents] if index == 0 else [""] * len(agents))
            ax.tick_params(axis="y", length=0)
            ax.spines["left"].set_visible(False)
            ax.set_title(METRICS[metric].title)
        return as_svg(figure)


def response_figure(panels: Mapping[str, Sequence[ResponseCurve]], agents: Mapping[str, Agent], *, seed: int) -> str:
    """One panel per response: how much likelier the behaviour is around the cue than around matched moments.

    Args:
        panels: title to curves.
        agents: those whose curves these are, by name.
    """
    with mpl.rc_context(STYLE):
        figure, axes = axes_in_rows(len(panels), columns=2, height=2.5)
        for ax, (title, curves) in zip(axes, panels.items(), strict=True):
            draw_window(ax)
            for curve in curves:
                draw_curve(ax, curve, agents[curve.agent], seed=seed)
            ax.set_title(title)
            ax.set_xlabel("seconds since the user's cue")
            ax.set_ylabel("excess onsets per second")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
        return as_svg(figure)


def draw_window(ax: Axes) -> None:
    """The cue, and the window in which an answer to it counts."""
    ax.axvspan(*WINDOW, color="#f3efe2", lw=0)
    ax.axvline(0, color="#999999", lw=0.8)
    ax.axhline(0, color="#cccccc", lw=0.8)


def draw_curve(ax: Axes, curve: ResponseCurve, agent: Agent, *, seed: int) -> None:
    """Excess rate of one agent, with its band if it is a streaming model."""
    middle_N = curve_bins() + CURVE_BIN / 2
    reference = isinstance(agent, ReferenceAgent)
    line = LINES.get(curve.agent, "-")
    if line == "-" and not reference and not (isinstance(agent, ModelAgent) and agent.offline):
        ax.fill_between(middle_N, *curve.band(seed), color=agent.colour, alpha=0.12, lw=0)
    ax.plot(middle_N, curve.excess(), color=agent.colour, lw=1.1 if reference else 1.8, ls=line, label=agent.title)


def latency_figure(block_ms: Array, reactions: Mapping[str, Array], *, budget_ms: float) -> str:
    """Left: wall time per block. Right: reaction latency to a user event at a random moment, with the 1 s line."""
    with mpl.rc_context(STYLE):
        figure, (left, right) = axes_in_rows(2, columns=2, height=2.4)
        _ecdf(left, block_ms, "#d1495b", None)
        left.axvline(budget_ms, color="#444444", lw=1, ls="--")
        left.text(budget_ms, 0.04, f" budget, {budget_ms:.0f} ms ", color="#444444", fontsize=8)
        left.set_xlim(0, max(budget_ms * 1.5, float(np.quantile(block_ms, 0.99)) * 1.1))
        left.set_title("computing one block, codecs included")
        left.set_xlabel("milliseconds of wall time")
        left.set_ylabel("share of blocks")
        for (name, seconds), colour in zip(reactions.items(), ("#2a7f9e", "#d1495b"), strict=False):
            _ecdf(right, seconds, colour, name)
        right.axvline(MAX_REACTION_SECONDS, color="#444444", lw=1, ls="--")
        right.text(MAX_REACTION_SECONDS, 0.04, " 1 s", color="#444444", fontsize=8)
        right.set_xlim(0, 1.2)
        right.set_title("from the user's act to the first frame after it")
        right.set_xlabel("seconds")
        right.set_ylabel("share of events")
        right.legend(loc="upper left")
        return as_svg(figure)


def loss_figure(runs: Mapping[str, Mapping[str, tuple[Array, Array]]]) -> str:
    """One panel per training run: loss terms by name over steps, on a logarithmic scale where positive."""
    with mpl.rc_context(STYLE):
        figure, axes = axes_in_rows(len(runs), columns=3, height=2.1)
        for ax, (name, terms) in zip(axes, runs.items(), strict=True):
            for index, (term, (steps_N, values_N)) in enumerate(sorted(terms.items())):
                stride = max(1, len(steps_N) // MAX_CURVE_POINTS)
                ax.plot(steps_N[::stride], values_N[::stride], lw=1.1, color=f"C{index}", label=term)
            if terms and all((values_N > 0).all() for _, values_N in terms.values()):
                ax.set_yscale("log")
            ax.set_title(name)
            ax.set_xlabel("step")
            ax.legend(loc="upper right", fontsize=6.5)
        return as_svg(figure)


def _ecdf(ax: Axes, values: Array, colour: str, label: str | None) -> None:
    values = np.sort(values)
    ax.step(values, np.arange(1, len(values) + 1) / len(values), where="post", color=colour, lw=1.6, label=label)
    ax.set_ylim(0, 1.02)
