"""Style sheet of the page; kept in it so that it needs no other file."""

STYLE = """
:root { --ink: #23272e; --soft: #6b7280; --line: #e6e7ea; --paper: #fff; --wash: #f6f6f3; --bad: #c0392b; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink);
  font: 15px/1.5 Inter, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { margin: 0 0 6px; font-size: 30px; letter-spacing: -0.01em; }
header p, .note { color: var(--soft); max-width: 90ch; margin: 0 0 12px; }
section, .table { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 18px 22px 20px;
  margin-top: 18px; overflow-wrap: anywhere; }
h2 { margin: 0 0 6px; font-size: 19px; }
h3 { margin: 0 0 6px; font-size: 15px; }
.warning { border-left: 4px solid var(--bad); padding: 4px 0 4px 12px; margin: 8px 0; color: var(--ink); }
svg, img { width: 100%; height: auto; display: block; }
svg text { font-family: inherit !important; }
img { margin: 14px 0 0; }
.tables { columns: 2; column-gap: 18px; }
.tables .table { break-inside: avoid; display: inline-block; width: 100%; }
.wide { overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; font-size: 14px; width: 100%; font-variant-numeric: tabular-nums; }
td, th { padding: 4px 14px 4px 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-size: 12px; color: var(--soft); font-weight: 600; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 14px 0 0; }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px; }
.tile b { display: block; font-size: 18px; }
.tile span { color: var(--soft); font-size: 12px; }
@media (max-width: 900px) { .tables { columns: 1; } }
"""
