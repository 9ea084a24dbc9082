"""Figures of the report as inline SVG: histograms beside what is known of people, and what the source delivers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from avatar_lab.figure_style import STYLE, as_svg
from avatar_lab.human import Statistic, human_figures

SIDE_COLOURS = {"a": "#2a7f9e", "b": "#d1495b"}
_FOUND, _PEOPLE = "#2a7f9e", "#c98b1b"
_TIMES = (
    ("floor_transfer_offset", "floor-transfer offset", "seconds; below 0 both speak"),
    ("gap", "gap", "seconds"),
    ("pause", "pause", "seconds"),
    ("turn", "turn", "seconds"),
)
_OFFSETS = (
    ("lag", "sync", "lag between the sides", "seconds"),
    ("sound_after_picture", "probe", "sound after picture, at the start", "seconds"),
    ("isolation_db", "bleed", "own voice over the other's", "dB"),
)
_ROLES = (("speaking", "speaks", 1.0), ("listening", "listens", 0.45))


def timing_figure(report: Mapping[str, Any]) -> str:
    """Histograms of floor transfers, gaps, pauses and turns; shaded from the tenth to the ninetieth percentile of
    people, with a line at their median. Empty where nobody spoke."""
    drawn = [entry for entry in _TIMES if report[entry[0]]]
    if not drawn:
        return ""
    with mpl.rc_context(STYLE):
        figure, axes = _figure(len(drawn), columns=2, height=2.3)
        for ax, (key, title, unit) in zip(axes, drawn, strict=True):
            people = human_figures(title)
            low, high = (people.get(name) for name in (Statistic.P10, Statistic.P90))
            if low is not None and high is not None:
                ax.axvspan(low.value, high.value, color=_PEOPLE, alpha=0.15, lw=0, label="people, p10 to p90")
            _bars(ax, report["histograms"][key], title=f"{title} (n = {report[key]['count']})", unit=unit)
            ax.axvline(people[Statistic.P50].value, color=_PEOPLE, lw=1.6, label="people, median")
            ax.axvline(report[key]["p50"], color=_FOUND, lw=1.6, ls="--", label="here, median")
            ax.legend(loc="upper right")
        return as_svg(figure)


def offsets_figure(report: Mapping[str, Any]) -> str:
    """Histograms of what the steps sync, probe and bleed found, and which did not run; empty where nothing was
    prepared."""
    if not report["prepared"]:
        return ""
    with mpl.rc_context(STYLE):
        figure, axes = _figure(len(_OFFSETS), columns=3, height=2.1)
        for ax, (key, step, title, unit) in zip(axes, _OFFSETS, strict=True):
            _bars(ax, report["histograms"][key], title=title, unit=unit)
            if not report[key]:
                said = "no figure" if report["steps"][step] else "not run"
                ax.text(0.5, 0.5, said, color="#999999", ha="center", transform=ax.transAxes)
                ax.set_yticks([])
        return as_svg(figure)


def hours_figure(report: Mapping[str, Any]) -> str:
    """Hours of speaking and listening by split and side; empty where nothing was prepared."""
    splits = report["splits"]
    if not report["prepared"]:
        return ""
    with mpl.rc_context(STYLE):
        figure, (ax,) = _figure(1, columns=1, height=0.7 + 0.55 * len(splits))
        for row, split in enumerate(splits.values()):
            for shift, (side, colour) in zip((-0.18, 0.18), SIDE_COLOURS.items(), strict=True):
                left = 0.0
                for role, _, alpha in _ROLES:
                    hours = split[f"{role}_hours"][side]
                    ax.barh(row + shift, hours, left=left, height=0.32, color=colour, alpha=alpha, lw=0)
                    left += hours
        for side, colour in SIDE_COLOURS.items():
            for _, word, alpha in _ROLES:
                ax.barh(0, 0, color=colour, alpha=alpha, label=f"{side} {word}")
        ax.set_yticks(range(len(splits)), list(splits))
        ax.invert_yaxis()
        ax.set_xlabel("hours")
        figure.legend(loc="outside upper right", ncols=4)
        return as_svg(figure)


def rates_figure(report: Mapping[str, Any]) -> str:
    """How many streams have which frame rate and sample rate; empty where there is none."""
    drawn = [(key.replace("_", " "), report[key]) for key in ("frame_rates", "sample_rates") if report[key]]
    if not drawn:
        return ""
    tallest = max(len(found) for _, found in drawn)
    with mpl.rc_context(STYLE):
        figure, axes = _figure(len(drawn), columns=2, height=0.8 + 0.24 * min(tallest, 24))
        for ax, (title, found) in zip(axes, drawn, strict=True):
            names = sorted(found, key=lambda name: -found[name])[:24]
            ax.barh(names, [found[name] for name in names], color=_FOUND, height=0.6)
            ax.bar_label(ax.containers[0], padding=3, color="#666666", fontsize=8)  # type: ignore[arg-type]
            ax.invert_yaxis()
            ax.margins(x=0.12)
            more = f", the {len(names)} most frequent of {len(found)}" if len(found) > len(names) else ""
            ax.set_title(f"{title}{more}")
            ax.set_xlabel("streams")
        return as_svg(figure)


def _bars(ax: Axes, histogram: Mapping[str, Any], *, title: str, unit: str) -> None:
    counts = np.asarray(histogram["counts"])
    edges = np.linspace(histogram["low"], histogram["high"], len(counts) + 1)
    ax.stairs(counts, edges, fill=True, color=_FOUND, alpha=0.55, lw=0)
    ax.set_xlim(histogram["low"], histogram["high"])
    ax.set_title(title)
    outside = histogram["below"] + histogram["above"]
    ax.set_xlabel(f"{unit}; {outside} outside" if outside else unit)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))


def _figure(panels: int, *, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(10, height * rows), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel())
    for spare in axes[panels:]:
        spare.set_visible(False)
    return figure, axes[:panels]
