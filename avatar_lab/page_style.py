"""What the pages of all reports look like: kept inside each page, so that it needs no other file and no network."""

from __future__ import annotations

import base64
from html import escape

PAGE_STYLE = """
:root {
  --ink: #23272e; --soft: #6b7280; --line: #e6e7ea; --paper: #ffffff; --wash: #f6f6f3;
  --good: #2f855a; --bad: #c0392b;
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink);
  font: 15px/1.5 Inter, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1320px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { margin: 0 0 6px; font-size: 30px; letter-spacing: -0.01em; }
h2 { margin: 0 0 6px; font-size: 19px; }
header p, .note { color: var(--soft); max-width: 84ch; margin: 0 0 14px; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 22px 20px; margin-top: 18px; }
svg { width: 100%; height: auto; display: block; }
svg text { font-family: inherit !important; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 8px 0 14px; }
.tile { background: var(--wash); border-radius: 8px; padding: 10px 16px; }
.tile b { display: block; font-size: 18px; }
.tile span { color: var(--soft); font-size: 12px; }
"""


def section(title: str, note: str, content: str) -> str:
    """A card with a heading; ``note`` says how to read it."""
    paragraph = f"<p class='note'>{note}</p>" if note else ""
    return f"<section><h2>{escape(title)}</h2>{paragraph}{content}</section>"


def data_uri(content: bytes, media_type: str) -> str:
    """The bytes of a file as an address inside the page."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
