"""Style sheet of the report: that of all reports, and what only this one has."""

from avatar_lab.page_style import PAGE_STYLE

STYLE = (
    PAGE_STYLE
    + """
.legend { color: var(--soft); font-size: 13px; margin: 10px 0 14px; }
h3 { margin: 14px 0 6px; font-size: 13px; color: var(--soft); font-weight: 600; }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(350px, 1fr)); gap: 14px; }
figure { margin: 0; }
video { width: 100%; border-radius: 8px; background: #ddd; display: block; }
figcaption { font-size: 13px; color: var(--soft); padding-top: 4px; }
.levels { width: 100%; font-size: 14px; }
.levels th, .levels td {
  padding: 6px 7px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
.levels th:first-child { text-align: left; }
.levels thead th { font-size: 12px; color: var(--soft); font-weight: 600; vertical-align: bottom; }
.levels small { display: block; color: var(--soft); font-size: 11px; font-weight: 400; }
.levels tr.reference th, .levels tr.reference td { color: #7a7f87; background: #fbfbfa; }
.levels td.pass b { color: var(--good); }
.levels td.fail b { color: var(--bad); }
.levels tbody th { font-weight: 600; text-align: left; }
.levels td.reference b { color: #7a7f87; }
.certain b { color: var(--good); }
.undefined { color: #b8bbc0; }
.bars { font-size: 14px; margin-top: 8px; }
.bars td, .bars th { padding: 4px 14px 4px 0; text-align: left; border-bottom: 1px solid var(--line); }
.bars th { font-size: 12px; color: var(--soft); }
.mark {
  display: inline-block; min-width: 74px; text-align: center; border-radius: 20px; font-size: 12px; padding: 1px 10px; }
.mark.pass { background: #e5f3eb; color: var(--good); }
.mark.fail { background: #fbe8e5; color: var(--bad); }
.mark.none { background: #eee; color: var(--soft); }
summary { cursor: pointer; color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: 48px; font-size: 14px; }
.facts td { padding: 3px 18px 3px 0; border-bottom: 1px solid var(--line); }
.facts td:last-child { text-align: right; }
.facts .total td { font-weight: 600; }
"""
)
