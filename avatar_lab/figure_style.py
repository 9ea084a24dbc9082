"""How the pages of this project draw: one style for their figures, which are inline SVG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "avatar_lab",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": "#444444",
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "legend.fontsize": 8,
}
"""For ``matplotlib.rc_context``."""


class Svg(str):
    """An SVG element: text in a page, a picture at the end of a notebook's cell."""

    def _repr_svg_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<Svg, {len(self):,} characters>"


def as_svg(figure: Figure) -> Svg:
    """SVG element without the XML prologue, without a date, scaling with the page."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    text = buffer.getvalue()
    return Svg(text[text.index("<svg") :])


def axes_in_rows(count: int, *, columns: int, height: float, width: float = 10.0) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` axes in rows of ``height`` inches; its text grows on the page as ``width`` shrinks."""
    columns = min(columns, max(count, 1))
    rows = max(1, -(-count // columns))
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel())
    for spare in axes[count:]:
        spare.set_visible(False)
    return figure, axes[:count]
