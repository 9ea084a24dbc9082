"""``index.html``: one self-contained page that needs no network, no server and no other file."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from avatar_lab.evaluation.agents import SCRIPTED, ReferenceAgent
from avatar_lab.evaluation.digits import limits, number
from avatar_lab.evaluation.metrics import METRICS, SUMMARY_METRICS
from avatar_lab.evaluation.plots import forest_figure, latency_figure, loss_figure, response_figure
from avatar_lab.evaluation.plots_time import course_figure, offset_figure
from avatar_lab.evaluation.report import LEVEL_TABLE, Report
from avatar_lab.evaluation.report_parts import all_metrics, comparisons, interventions, typeset
from avatar_lab.evaluation.report_style import STYLE
from avatar_lab.evaluation.responses import RESPONSES
from avatar_lab.page_style import data_uri, section

NOT_DRAWN = ("level3_camera_off", "frozen")
"""Agents without a response curve: theirs would lie on top of level 2's, and at 0."""
MARKS = {True: ("pass", "met"), False: ("fail", "missed"), None: ("none", "no number")}


def write_html(report: Report, path: Path, *, seed: int) -> None:
    """Write the page."""
    body = "\n".join(_sections(report, seed))
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>avatar_lab evaluation</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(page)
    partial.replace(path)


def _sections(report: Report, seed: int) -> Iterator[str]:
    yield _header(report)
    yield _films(report)
    yield _bars(report)
    yield _level_table(report)
    measured = {cell.agent for cell in report.cells if cell.estimate.defined}
    agents = [agent for name, agent in report.agents.items() if name in measured]
    panels = [response.metric for response in RESPONSES]
    yield section(
        "Responses at a glance",
        "Difference of probabilities with 95 % interval by dyad. A model can do no better than the delayed oracle, "
        "which perceives its user as late as the models do; an agent that ignores its user lies at 0, as yoked does.",
        forest_figure(report.cells, panels, agents),
    )
    yield section(
        "When does it react?",
        "Onsets per second around the user's cue, minus those after matched moments without a cue. The shaded window "
        "is where responses are counted; a rise before 0 would be a reaction that precedes its cue.",
        response_figure(
            {METRICS[m].title: [c for c in report.curves[m] if c.agent not in NOT_DRAWN] for m in panels},
            report.agents,
            seed=seed,
        ),
    )
    yield comparisons(report.pairs, report.agents)
    yield interventions(report.interventions, report.agents)
    yield from _over_time(report)
    yield all_metrics(report.details, report.agents)
    if report.latency is not None:
        yield _latency(report.latency)
    if report.losses:
        yield section("Training", "Loss terms of each run, as logged.", loss_figure(report.losses))
    yield _facts(report)


def _header(report: Report) -> str:
    judged = [verdict for verdict in report.verdicts if verdict.passed is not None]
    met = sum(bool(verdict.passed) for verdict in judged)
    return (
        f"<header><h1>Does the avatar talk, listen and see?</h1><p>{escape(report.setting)}. "
        f"{met} of {len(judged)} bars met. All numbers are read from decoded pixels and waveforms; the "
        "embedded world shows wiring and learnability, not human likeness.</p></header>"
    )


def _films(report: Report) -> str:
    groups = []
    for sample, films in report.films.items():
        figures = "".join(
            f'<figure><video controls preload="metadata" src="{data_uri(path.read_bytes(), "video/mp4")}"></video>'
            f"{report.strips.get(sample, {}).get(agent, '')}"
            f"<figcaption>{escape(report.agents[agent].title)}</figcaption></figure>"
            for agent, path in films.items()
        )
        key, _, side = sample.rpartition("-")
        title = f"conversation {escape(key)}, avatar in the place of {escape(side)}"
        if sample in report.notes:
            title += f" &middot; {escape(report.notes[sample])}"
        groups.append(f"<h3>{title}</h3><div class='films'>{figures}</div>")
    if not groups:
        return ""
    note = (
        "User (recorded) on the left, avatar on the right. Turns are given, everything else is generated. Below: both "
        "voices, and what each was seen and heard to do; the cursor of the film runs along the same seconds."
    )
    return section("Watch and listen", note, "".join(groups))


def _bars(report: Report) -> str:
    rows = []
    for verdict in report.verdicts:
        kind, word = MARKS[verdict.passed]
        title = METRICS[verdict.metric].title if verdict.metric in METRICS else verdict.metric.replace("_", " ")
        rows.append(
            f"<tr><td><span class='mark {kind}'>{word}</span></td><td>{escape(report.agents[verdict.agent].title)}</td>"
            f"<td>{escape(title)}</td><td>{escape(verdict.rule)}</td><td>{escape(verdict.observed)}</td></tr>"
        )
    head = "<tr><th></th><th>agent</th><th>metric</th><th>bar</th><th>measured</th></tr>"
    missed = sum(verdict.passed is False for verdict in report.verdicts)
    table = f"<table class='bars'><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    opened = " open" if missed else ""
    return section("Bars", "", f"<details{opened}><summary>{missed} missed; all bars</summary>{table}</details>")


def _level_table(report: Report) -> str:
    described = [METRICS[name] for name in LEVEL_TABLE]
    head = "".join(f"<th title='{escape(m.about)}'>{escape(m.title)}<small>{m.unit}</small></th>" for m in described)
    rows = []
    for agent in report.agents.values():
        cells = "".join(_cell(report, agent.name, name) for name in LEVEL_TABLE)
        kind = "reference" if isinstance(agent, ReferenceAgent) else "model"
        rows.append(f"<tr class='{kind}'><th title='{escape(agent.about)}'>{escape(agent.title)}</th>{cells}</tr>")
    legend = " ".join(f"<b>{escape(agent.title)}</b>: {escape(agent.about)}." for agent in report.agents.values())
    body = f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    table = f"<div class='wide'><table class='levels'>{body}</table></div>"
    note = "Value, 95 % interval by dyad, number of cues (responses) or dyads. Hover over a title for its definition."
    return section("Level table", note, f"{table}<p class='legend'>{legend}</p>{_reader(report)}")


def _reader(report: Report) -> str:
    """How far numbers from pixels can be trusted."""
    if report.reader is None:
        return ""
    scores = ", ".join(
        f"{escape(name)} " + ("undefined (still)" if value is None else f"{value:.3f}")
        for name, value in report.reader.items()
    )
    return f"<p class='legend'><b>Pixel reader</b>, R&sup2; on decoded frames against the world's truth: {scores}.</p>"


def _cell(report: Report, agent: str, metric: str) -> str:
    cell = report.cell(agent, metric)
    verdict = next((v for v in report.verdicts if (v.agent, v.metric) == (agent, metric)), None)
    kind = "" if verdict is None else MARKS[verdict.passed][0]
    if cell.estimate.value is None:
        return f"<td class='undefined' title='{escape(cell.reason or '')}'>&ndash;</td>"
    interval = typeset(limits(cell.estimate, cell.unit)) or "one dyad"
    small = f"<small>{interval} &middot; {cell.n}</small>" if metric in SUMMARY_METRICS else ""
    return f"<td class='{kind}'><b>{typeset(number(cell.estimate.value, cell.unit))}</b>{small}</td>"


def _over_time(report: Report) -> Iterator[str]:
    """When agents take the floor, and how they keep."""
    decide = [name for name in report.timelines if report.agents[name].condition != SCRIPTED]
    deciding = {name: report.timelines[name] for name in decide if len(report.timelines[name].offsets_N)}
    if deciding:
        yield section(
            "When does it take the floor?",
            "Agents that decide themselves when to speak, number of transfers in brackets. Grey: median and tenth to "
            "ninetieth percentile of people on the telephone (Switchboard).",
            offset_figure(deciding, report.agents),
        )
    drawn = [name for name in report.timelines if name not in NOT_DRAWN]
    if drawn:
        yield section(
            "Does it keep?",
            "Mean over conversations in windows of ten seconds. A model that drifts leaves the oracle's level.",
            course_figure(report.timelines, report.agents, drawn),
        )


def _latency(latency: dict[str, Any]) -> str:
    facts = (
        ("real-time factor", f"{latency['real_time_factor']:.3f}"),
        ("block p50 / p95 / p99", " / ".join(f"{latency[f'block_p{p}_ms']:.0f}" for p in (50, 95, 99)) + " ms"),
        ("late blocks", f"{latency['late_blocks']} of {latency['blocks']}"),
        ("worst reaction to sound", f"{latency['worst_reaction_user_audio_s']:.2f} s"),
        ("worst reaction to sight", f"{latency['worst_reaction_user_video_s']:.2f} s"),
    )
    tiles = "".join(f"<div class='tile'><b>{value}</b><span>{name}</span></div>" for name, value in facts)
    figure = latency_figure(
        np.array(latency["block_ms"]),
        {
            "to the user's voice": np.array(latency["reaction_user_audio_s"]),
            "to the user's face": np.array(latency["reaction_user_video_s"]),
        },
        budget_ms=latency["block_budget_ms"],
    )
    note = (
        "One live session, block by block in real media, codecs included. Reaction = waiting for the block + stated "
        "delay + lateness."
    )
    return section("Latency", note, f"<div class='tiles'>{tiles}</div>{figure}")


def _facts(report: Report) -> str:
    steps = "".join(f"<tr><td>{escape(k)}</td><td>{v:,.0f} s</td></tr>" for k, v in report.seconds.items())
    machine = "".join(f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>" for k, v in report.hardware.items())
    total = sum(report.seconds.values())
    if steps:
        steps += f"<tr class='total'><td>together</td><td>{total / 60:.1f} min</td></tr>"
    return section(
        "Time and machine",
        "",
        f"<div class='facts'><table>{steps}</table><table>{machine}<tr><td>commit</td>"
        f"<td>{escape(report.commit or 'unknown')}</td></tr></table></div>",
    )
