"""Style sheet of the page: that of all reports, and what only this one has."""

from avatar_lab.page_style import PAGE_STYLE

STYLE = (
    PAGE_STYLE
    + """
main { max-width: 1180px; }
h3 { margin: 0 0 6px; font-size: 15px; }
section { overflow-wrap: anywhere; }
.table { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 18px 22px 20px;
  margin-top: 18px; overflow-wrap: anywhere; }
.warning { border-left: 4px solid var(--bad); padding: 4px 0 4px 12px; margin: 8px 0; color: var(--ink); }
img { width: 100%; height: auto; display: block; margin: 14px 0 0; }
.tables { columns: 2; column-gap: 18px; }
.tables .table { break-inside: avoid; display: inline-block; width: 100%; }
.wide { overflow-wrap: normal; }
table { font-size: 14px; width: 100%; }
td, th { padding: 4px 14px 4px 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-size: 12px; color: var(--soft); font-weight: 600; }
.tiles { margin: 14px 0 0; }
.tile { background: var(--paper); border: 1px solid var(--line); }
@media (max-width: 900px) { .tables { columns: 1; } }
"""
)
