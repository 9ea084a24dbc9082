"""``report.md``: the tables as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.report.sections import Table, cost, summary, tables, warnings

MAX_LISTED = 50
"""Dropped recordings listed by name; ``report.parquet`` has all."""


def as_markdown(report: Mapping[str, Any]) -> str:
    """The report for people."""
    lines = ["# Preparation report", "", summary(report), ""]
    for said in warnings(report):
        lines += [f"**{_safe(said)}**", ""]
    for table in tables(report):
        lines += _table(table)
    lines += [cost(report), ""]
    listed = list(report["skipped_recordings"].items())
    lines += [f"- `{_safe(name)}`: {_safe(why)}" for name, why in listed[:MAX_LISTED]]
    if len(listed) > MAX_LISTED:
        lines += [f"- and {len(listed) - MAX_LISTED} more in report.parquet"]
    return "\n".join(lines).rstrip() + "\n"


def _table(table: Table) -> list[str]:
    lines = [f"## {table.title}", ""]
    if table.note:
        lines += [_safe(table.note), ""]
    if table.rows:
        lines += [_row(table.head), f"|{'---|' * len(table.head)}", *(_row(row) for row in table.rows), ""]
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_safe(cell) for cell in cells)} |"


def _safe(text: str) -> str:
    """Names of recordings come from outside: no line break, bar or tag of theirs may change the page."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
