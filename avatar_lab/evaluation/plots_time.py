"""Figures of the report over time: when the floor changes hands, and how agents keep over a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from scipy.stats import gaussian_kde

from avatar_lab.evaluation.agents import Agent, ReferenceAgent
from avatar_lab.evaluation.timelines import COURSES, Timelines, window_minutes
from avatar_lab.figure_style import STYLE, as_svg, axes_in_rows
from avatar_lab.human import Statistic, human

OFFSETS = (-2.5, 3.5)
"""Seconds that are drawn; what lies outside is counted in the legend."""
_OFFSET_PANELS = (
    ("from the user's end to the avatar's turn", "floor-transfer offset", OFFSETS),
    ("gaps alone", "gap", (0.0, OFFSETS[1])),
)
_PERCENTILES = (Statistic.P10, Statistic.P50, Statistic.P90)
MIN_TRANSFERS = 10
_LINES = {"delayed_oracle": "--", "yoked": ":", "frozen": ":"}


def offset_figure(found: Mapping[str, Timelines], agents: Mapping[str, Agent]) -> str:
    """Left: density of floor transfer offsets. Right: of the gaps among them. Grey: tenth to ninetieth percentile and
    median of people on the telephone."""
    with mpl.rc_context(STYLE):
        figure, axes = axes_in_rows(2, columns=2, height=2.5)
        for ax, (title, quantity, span) in zip(axes, _OFFSET_PANELS, strict=True):
            low, middle, high = (human(quantity, which).value for which in _PERCENTILES)
            ax.axvspan(low, high, color="#eeeeea", lw=0)
            ax.axvline(middle, color="#999999", lw=1)
            grid_N = np.linspace(*span, 300)
            for name, timeline in found.items():
                offsets_N = timeline.offsets_N[timeline.offsets_N > (0.0 if quantity == "gap" else -np.inf)]
                within_N = offsets_N[(offsets_N >= span[0]) & (offsets_N <= span[1])]
                if len(within_N) < MIN_TRANSFERS or within_N.std() == 0:
                    continue
                ax.plot(
                    grid_N,
                    gaussian_kde(within_N)(grid_N) * len(within_N) / len(offsets_N),
                    color=agents[name].colour,
                    ls=_LINES.get(name, "-"),
                    lw=1.1 if isinstance(agents[name], ReferenceAgent) else 1.8,
                    label=f"{agents[name].title} ({len(offsets_N)})",
                )
            ax.set_xlim(*span)
            ax.set_ylim(bottom=0)
            ax.set_title(title)
            ax.set_xlabel("seconds")
            ax.set_ylabel("density")
            if ax.get_legend_handles_labels()[0]:
                ax.legend(loc="upper right", fontsize=7)
        return as_svg(figure)


def course_figure(found: Mapping[str, Timelines], agents: Mapping[str, Agent], names: Sequence[str]) -> str:
    """One panel per quantity: mean over conversations of each window of ten seconds."""
    with mpl.rc_context(STYLE):
        figure, axes = axes_in_rows(len(COURSES), columns=3, height=2.3)
        for ax, quantity in zip(axes, COURSES, strict=True):
            for name in names:
                value_W = found[name].courses[quantity]
                ax.plot(
                    window_minutes(len(value_W)),
                    value_W,
                    color=agents[name].colour,
                    ls=_LINES.get(name, "-"),
                    lw=1.1 if isinstance(agents[name], ReferenceAgent) else 1.8,
                    label=agents[name].title,
                )
            ax.set_title(quantity)
            ax.set_xlabel("minutes")
            ax.set_xlim(left=0)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
        return as_svg(figure)
