"""One contact sheet as a picture: both people's strips, and between them who spoke when and what else was noticed."""

from __future__ import annotations

import io

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from avatar_lab.data.schema import SIDES
from avatar_lab.event_types import Event, EventType
from avatar_lab.figure_style import STYLE
from data_prep.report.charts import SIDE_COLOURS
from data_prep.report.sheets import Sheet, Strip

_WIDTH, _LEFT, _RIGHT, _TITLE, _AXIS, _LANE = 10.0, 0.5, 0.1, 0.3, 0.32, 0.34
"""Inches."""
_MISSING_HEIGHT = 0.5
_SPEECH = {EventType.IPU: None, EventType.BACKCHANNEL: "#c98b1b", EventType.LAUGH: "#5a9e4b"}
"""Colour of each kind of voice; IPUs have the speaker's."""
_VISIBLE = {
    EventType.NOD: "n",
    EventType.SMILE: "s",
    EventType.BLINK: "b",
    EventType.LEAN: "l",
    EventType.GAZE_AWAY: "g",
}
LEGEND = (
    "Bars: voice; ochre: backchannel; green: laugh. Letters: nod, smile, blink, lean, gaze away. Frames: what the "
    "avatar's encoding sees (white) and the user's (dashed), where that is not the whole picture."
)


def sheet_figure(sheet: Sheet) -> bytes:
    """JPEG of the sheet."""
    heights = {side: _strip_height(sheet.strips[side]) for side in SIDES}
    total = _TITLE + sum(heights.values()) + 2 * _LANE + _AXIS
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, total), dpi=110)
        FigureCanvasAgg(figure)
        top = total - _TITLE
        title = f"{sheet.interaction}   {sheet.split}   {sheet.start:.1f} to {sheet.end:.1f} s"
        figure.text(_LEFT / _WIDTH, 1 - 0.2 / total, title, fontsize=9, weight="bold", parse_math=False)
        for side, lanes_below in zip(SIDES, (True, False), strict=True):
            top -= heights[side]
            _draw_strip(_axes(figure, total, top, heights[side]), side, sheet.strips[side])
            if lanes_below:
                top -= 2 * _LANE + _AXIS
                _draw_lanes(_axes(figure, total, top + _AXIS, 2 * _LANE), sheet)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="jpeg", pil_kwargs={"quality": 88})
        return buffer.getvalue()


def _axes(figure: Figure, total: float, bottom: float, height: float) -> Axes:
    return figure.add_axes((_LEFT / _WIDTH, bottom / total, 1 - (_LEFT + _RIGHT) / _WIDTH, height / total))


def _strip_height(strip: Strip) -> float:
    if strip.pictures_NHWC is None:
        return _MISSING_HEIGHT
    count, rows, columns, _ = strip.pictures_NHWC.shape
    return (_WIDTH - _LEFT - _RIGHT) / count * rows / columns


def _draw_strip(ax: Axes, side: str, strip: Strip) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.set_ylabel(side, rotation=0, color=SIDE_COLOURS[side], weight="bold", va="center", labelpad=12)
    if strip.pictures_NHWC is None:
        ax.set_facecolor("#f0f0ee")
        text = f"{strip.participant}: {strip.missing}"
        ax.text(0.01, 0.5, text[:150], color="#777777", va="center", transform=ax.transAxes, parse_math=False)
        return
    count = len(strip.pictures_NHWC)
    for index, picture_HWC in enumerate(strip.pictures_NHWC):
        ax.imshow(picture_HWC, extent=(index, index + 1, 0, 1), aspect="auto")
        for crop, line in zip(strip.crops, ("-", "--"), strict=False):
            if crop.right - crop.left < 1 or crop.bottom - crop.top < 1:
                corner = (index + crop.left, 1 - crop.bottom)
                width, height = crop.right - crop.left, crop.bottom - crop.top
                ax.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="white", lw=0.8, ls=line))
    ax.set_xlim(0, count)
    ax.set_ylim(0, 1)


def _draw_lanes(ax: Axes, sheet: Sheet) -> None:
    for row, side in enumerate(SIDES):
        own = [event for event in sheet.events if event.side == side]
        for kind, colour in _SPEECH.items():
            _draw_spans(ax, [e for e in own if e.type is kind], row, colour or SIDE_COLOURS[side])
        for event in own:
            if event.type in _VISIBLE and event.start >= sheet.start:
                letter = _VISIBLE[event.type]
                ax.text(event.start, row + 0.37, letter, fontsize=7.5, color="#444444", ha="center", va="center")
    ax.set_xlim(sheet.start, sheet.end)
    ax.set_ylim(1.5, -0.5)
    ax.set_yticks(range(len(SIDES)), SIDES)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="x", labelsize=7.5, pad=2)


def _draw_spans(ax: Axes, events: list[Event], row: int, colour: str) -> None:
    spans = [(event.start, event.end - event.start) for event in events]
    ax.broken_barh(spans, (row - 0.28, 0.44), facecolors=colour, lw=0)
