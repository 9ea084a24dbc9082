"""Events of two people under a film: a page of some seconds after the other, with a cursor that moves across.

P video frames   H, W, C
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from avatar_lab.figure_style import STYLE

Span = tuple[float, float]

PAGE_SECONDS = 10.0
ROW_PIXELS, TOP_PIXELS, BOTTOM_PIXELS, LEFT_PIXELS, RIGHT_PIXELS = 20, 42, 22, 112, 12
DPI = 100
COLOURS = ("#1f6fb4", "#d9661f")
"""Agent, user."""
CURSOR = (200, 30, 30)
SHORTEST = 0.05
"""Seconds; anything shorter is drawn this long, or it could not be seen."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the lane: spans of agent and user in seconds; ``outlined`` ones come from the source's own log."""

    name: str
    spans: tuple[Sequence[Span], Sequence[Span]]
    outlined: tuple[Sequence[Span], Sequence[Span]] = ((), ())


@dataclass(kw_only=True)
class EventLane:
    """Pictures of the lane at any time.

    width  in pixels; title  who is who
    """

    rows: Sequence[Row]
    width: int
    title: str
    _pages: dict[int, NDArray[np.uint8]] = field(default_factory=dict, init=False)

    @property
    def height(self) -> int:
        """In pixels, even."""
        height = TOP_PIXELS + BOTTOM_PIXELS + ROW_PIXELS * len(self.rows)
        return height + height % 2

    def at(self, seconds: float) -> NDArray[np.uint8]:
        """(height, width, 3) with the cursor at ``seconds``."""
        number, inside = divmod(seconds, PAGE_SECONDS)
        if number not in self._pages:
            self._pages = {int(number): self._page(int(number) * PAGE_SECONDS)}
        picture_HWC = self._pages[int(number)].copy()
        plot = self.width - LEFT_PIXELS - RIGHT_PIXELS
        column = LEFT_PIXELS + int(inside / PAGE_SECONDS * (plot - 1))
        picture_HWC[TOP_PIXELS : self.height - BOTTOM_PIXELS, column : column + 2] = CURSOR
        return picture_HWC

    def _page(self, start: float) -> NDArray[np.uint8]:
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(self.width / DPI, self.height / DPI), dpi=DPI, facecolor="white")
            canvas = FigureCanvasAgg(figure)
            axes = figure.add_axes(
                (
                    LEFT_PIXELS / self.width,
                    BOTTOM_PIXELS / self.height,
                    1 - (LEFT_PIXELS + RIGHT_PIXELS) / self.width,
                    1 - (TOP_PIXELS + BOTTOM_PIXELS) / self.height,
                )
            )
            draw_rows(axes, self.rows)
            axes.set_xlim(start, start + PAGE_SECONDS)
            axes.set_xticks(np.arange(start, start + PAGE_SECONDS + 1, 1.0))
            axes.tick_params(length=2, pad=2)
            figure.text(6 / self.width, 1 - 16 / self.height, self.title, fontsize=8, color="#444444")
            figure.legend(
                handles=legend_handles(),
                loc="upper left", bbox_to_anchor=(LEFT_PIXELS / self.width, 1 - 19 / self.height), ncols=3,
                borderpad=0.2, borderaxespad=0.0, handlelength=1.0, columnspacing=1.0,
            )  # fmt: skip
            canvas.draw()
            return np.asarray(canvas.buffer_rgba())[: self.height, : self.width, :3].copy()


def draw_rows(axes: Axes, rows: Sequence[Row]) -> None:
    """Rows from the top down, the agent's spans above the user's in each."""
    for number, row in enumerate(rows):
        axes.axhline(number, color="#dddddd", linewidth=0.5, zorder=0)
        for person, colour in enumerate(COLOURS):
            band = (number - 0.42 + 0.44 * person, 0.4)
            axes.broken_barh(_bars(row.spans[person]), band, facecolors=colour, linewidth=0)
            outline = _bars(row.outlined[person])
            axes.broken_barh(outline, band, facecolors="none", edgecolors=colour, linewidth=0.8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [row.name.replace("_", " ") for row in rows])


def legend_handles() -> list[Patch]:
    """Who is which colour, and what an outline means."""
    people = [Patch(color=colour, label=name) for colour, name in zip(COLOURS, ("agent", "user"), strict=True)]
    return [*people, Patch(facecolor="none", edgecolor="#444444", label="by the source")]


def _bars(spans: Sequence[Span]) -> list[Span]:
    """(start, length) as matplotlib wants them."""
    return [(start, max(end - start, SHORTEST)) for start, end in spans]


def rows_of(
    masks: Mapping[str, tuple[Sequence[Span], Sequence[Span]]],
    found: Mapping[str, tuple[Sequence[Span], Sequence[Span]]],
    given: Mapping[str, tuple[Sequence[Span], Sequence[Span]]],
) -> list[Row]:
    """Masks first, then one row per kind of event that was found or given."""
    rows = [Row(name=name, spans=spans) for name, spans in masks.items()]
    nothing: tuple[Sequence[Span], Sequence[Span]] = ((), ())
    for name in [*found, *(name for name in given if name not in found)]:
        rows.append(Row(name=name, spans=found.get(name, nothing), outlined=given.get(name, nothing)))
    return rows
