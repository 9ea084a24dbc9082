"""``report.html``: one self-contained page that asks the network for nothing; its own policy forbids it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from avatar_lab.page_style import data_uri, section
from data_prep.report.charts import hours_figure, offsets_figure, rates_figure, timing_figure
from data_prep.report.page_style import STYLE
from data_prep.report.sections import PEOPLE, RATES, SPLITS, Table, cost, summary, tables, warnings
from data_prep.report.sheet_figure import LEGEND, sheet_figure
from data_prep.report.sheets import Sheet

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_WIDE = 5
"""Tables with at least this many columns take the whole width."""
_FIGURES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    SPLITS: hours_figure,
    PEOPLE: timing_figure,
    RATES: rates_figure,
}
"""What is drawn above a table, by its title."""
_SAID_BY_FIGURE = frozenset({RATES})


def page(report: Mapping[str, Any], sheets: Iterable[Sheet]) -> Iterator[str]:
    """Pieces of the page, in order: one sheet is held at a time."""
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Preparation report</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style></head>\n<body><main>\n"
    )
    yield _header(report)
    shown = tables(report)
    large = [table for table in shown if table.title in _FIGURES or len(table.head) >= _WIDE]
    for table in large:
        figure = _FIGURES[table.title](report) if table.title in _FIGURES else ""
        said = table.title in _SAID_BY_FIGURE or not table.rows
        content = "" if said else f"<div class='wide'>{_table(table)}</div>"
        yield _section(table.title, table.note, figure + content)
    yield _section("Offsets and bleed", "", offsets_figure(report))
    yield _sheets(sheets)
    small = "".join(_box(table) for table in shown if table not in large)
    yield f"<div class='tables'>{small}</div>\n</main></body></html>\n"


def _header(report: Mapping[str, Any]) -> str:
    said = "".join(f"<p class='warning'>{escape(text)}</p>" for text in warnings(report))
    tiles = (
        (f"{report['hours']:.2f} h", "prepared"),
        (f"{report['picture_hours']:.2f} h", "with pictures"),
        (str(report["participants"]["people"]), "people"),
        (str(report["skipped"]), "recordings skipped"),
        (f"{report['non_commercial_hours']:.2f} h", "non-commercial"),
        (f"{report['throughput']['real_time_factor']:.1f}&times;", "real time"),
    )
    drawn = "".join(f"<div class='tile'><b>{value}</b><span>{name}</span></div>" for value, name in tiles)
    return (
        f"<header><h1>Preparation report</h1><p>{escape(summary(report))} {escape(cost(report))}</p>{said}</header>\n"
        f"<div class='tiles'>{drawn}</div>\n"
    )


def _sheets(sheets: Iterable[Sheet]) -> str:
    drawn = [
        f'<img alt="{escape(sheet.interaction, quote=True)}" src="{data_uri(sheet_figure(sheet), "image/jpeg")}">'
        for sheet in sheets
    ]
    note = f"{len(drawn)} recordings drawn at random, a stretch of each. {LEGEND}"
    return _section("Contact sheets", note, "".join(drawn)) if drawn else ""


def _section(title: str, note: str, content: str) -> str:
    return section(title, escape(note), content) + "\n" if content or note else ""


def _box(table: Table) -> str:
    paragraph = f"<p class='note'>{escape(table.note)}</p>" if table.note else ""
    return f"<div class='table'><h3>{escape(table.title)}</h3>{paragraph}{_table(table) if table.rows else ''}</div>\n"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.head)
    body = "".join(_row(row) for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
