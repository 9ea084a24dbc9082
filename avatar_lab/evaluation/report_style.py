"""Style sheet of the report; kept in the page so that it needs no other file."""

STYLE = """
:root {
  --ink: #23272e; --soft: #6b7280; --line: #e6e7ea; --paper: #ffffff; --wash: #f6f6f3;
  --good: #2f855a; --bad: #c0392b;
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink);
  font: 15px/1.5 Inter, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1320px; margin: 0 auto; padding: 32px 24px 64px; }
header h1 { margin: 0 0 6px; font-size: 30px; letter-spacing: -0.01em; }
header p, .note, .legend { color: var(--soft); max-width: 78ch; margin: 0 0 14px; }
.legend { font-size: 13px; max-width: none; margin-top: 10px; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 22px 20px; margin-top: 18px; }
h2 { margin: 0 0 4px; font-size: 19px; }
h3 { margin: 14px 0 6px; font-size: 13px; color: var(--soft); font-weight: 600; }
svg { width: 100%; height: auto; display: block; }
svg text { font-family: inherit !important; }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(350px, 1fr)); gap: 14px; }
figure { margin: 0; }
video { width: 100%; border-radius: 8px; background: #ddd; display: block; }
figcaption { font-size: 13px; color: var(--soft); padding-top: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.levels { width: 100%; font-size: 14px; }
.levels th, .levels td {
  padding: 6px 7px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
.levels th:first-child { text-align: left; }
.levels thead th { font-size: 12px; color: var(--soft); font-weight: 600; vertical-align: bottom; }
.levels small { display: block; color: var(--soft); font-size: 11px; font-weight: 400; }
.levels tr.reference th, .levels tr.reference td { color: #7a7f87; background: #fbfbfa; }
.levels td.pass b { color: var(--good); }
.levels td.fail b { color: var(--bad); }
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
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 8px 0 14px; }
.tile { background: var(--wash); border-radius: 8px; padding: 10px 16px; }
.tile b { display: block; font-size: 18px; }
.tile span { color: var(--soft); font-size: 12px; }
.facts { display: flex; flex-wrap: wrap; gap: 48px; font-size: 14px; }
.facts td { padding: 3px 18px 3px 0; border-bottom: 1px solid var(--line); }
.facts td:last-child { text-align: right; }
.facts .total td { font-weight: 600; }
"""
