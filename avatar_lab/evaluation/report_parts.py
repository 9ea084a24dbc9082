"""Sections of the report below the level table: all metrics, comparisons by dyad, interventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from avatar_lab.evaluation.agents import Agent, ReferenceAgent
from avatar_lab.evaluation.comparisons import Pair
from avatar_lab.evaluation.digits import limits, number, p_text
from avatar_lab.evaluation.estimates import AgentMetric
from avatar_lab.evaluation.metrics import METRICS
from avatar_lab.page_style import section

SIGNIFICANT = 0.05
MARKS = {True: "pass", False: "fail", None: ""}


def typeset(text: str) -> str:
    """Numbers with the signs that belong to them."""
    return escape(text).replace("-", "&minus;").replace("...", "&hellip;")


def all_metrics(details: Sequence[AgentMetric], agents: Mapping[str, Agent]) -> str:
    """Every metric of every agent, with why there is no number."""
    found = {(cell.agent, cell.metric): cell for cell in details}
    head = "".join(f"<th>{escape(agent.title)}</th>" for agent in agents.values())
    rows = []
    for metric in METRICS.values():
        cells = []
        for name, agent in agents.items():
            cell = found.get((name, metric.name))
            kind = "reference" if isinstance(agent, ReferenceAgent) else "model"
            if cell is None or cell.estimate.value is None:
                reason = "not measured" if cell is None else cell.reason or ""
                cells.append(f"<td class='undefined' title='{escape(reason)}'>&ndash;</td>")
                continue
            small = f"<small>{typeset(limits(cell.estimate, metric.unit))}</small>"
            cells.append(f"<td class='{kind}'><b>{typeset(number(cell.estimate.value, metric.unit))}</b>{small}</td>")
        arrow = {True: "&uarr;", False: "&darr;", None: ""}[metric.higher_better]
        title = f"<th title='{escape(metric.about)}'>{escape(metric.title)} {arrow}<small>{metric.unit}</small></th>"
        rows.append(f"<tr>{title}{''.join(cells)}</tr>")
    table = f"<table class='levels'><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    note = (
        "Mean over dyads with 95 % interval by dyad; figures without an interval are of all conversations together. "
        "An arrow says which way is better; without one, nearest to the oracle is. A dash has its reason as a hint: "
        "turn-taking of agents with a script is given, not measured."
    )
    body = f"<details><summary>{len(METRICS)} metrics</summary><div class='wide'>{table}</div></details>"
    return section("All metrics", note, body)


def comparisons(pairs: Sequence[Pair], agents: Mapping[str, Agent]) -> str:
    """Agents against each other on the same dyads."""
    if not pairs:
        return ""
    rows = []
    for pair in pairs:
        metric, found = METRICS[pair.metric], pair.comparison
        if found.difference.value is None or found.improvement.value is None:
            continue
        certain = found.p is not None and found.p < SIGNIFICANT
        value, interval = number(found.difference.value, metric.unit), limits(found.difference, metric.unit)
        change = f"<b>{typeset(value)}</b> {typeset(interval)}"
        rows.append(
            f"<tr><td>{escape(agents[pair.second].title)} &minus; {escape(agents[pair.first].title)}</td>"
            f"<td title='{escape(metric.about)}'>{escape(metric.title)}</td>"
            f"<td class='{'certain' if certain else ''}'>{change}</td>"
            f"<td>{found.improvement.value:.2f}</td><td>{escape(p_text(found.p))}</td><td>{found.difference.dyads}</td></tr>"
        )
    head = "".join(
        f"<th>{title}</th>" for title in ("pair", "metric", "difference", "P(better)", "p, two-sided", "dyads")
    )
    table = f"<table class='bars'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    note = (
        "Same dyads, same seeds, same noise: what two agents have in common cancels out. Responses pool the cues of "
        "all dyads, as above. P(better) is over dyads, ties count half; p by sign flips over dyads, not corrected for "
        "the number of rows."
    )
    return section("Against each other", note, f"<div class='wide'>{table}</div>")


def interventions(rows: pd.DataFrame | None, agents: Mapping[str, Agent]) -> str:
    """What was done to the user, what must come of it, and what came."""
    if rows is None or rows.empty:
        return ""
    asked = [name for name in agents if name in set(rows.agent)]
    head = "".join(f"<th>{escape(agents[name].title)}</th>" for name in asked)
    by_question: dict[tuple[str, str, str], dict[str, Mapping[Any, Any]]] = {}
    for row in rows[rows.question != ""].to_dict("records"):
        key = row["intervention"], row["question"], row["expected"]
        by_question.setdefault(key, {})[row["agent"]] = row
    lines = []
    for (intervention, question, expected), answers in by_question.items():
        cells = "".join(_answer(answers.get(name)) for name in asked)
        title = f"<th>{escape(intervention)} {escape(question.replace('_', ' '))}<small>{escape(expected)}</small></th>"
        lines.append(f"<tr>{title}{cells}</tr>")
    table = f"<table class='levels'><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    note = (
        "Treated minus control with identical noise and equal history, with 95 % interval by dyad. Green: what must "
        "come of it did (tests corrected by Holm within an agent); red: it did not. Grey: reported, or the question "
        "does not tell the oracle from those who answer nobody, so that it decides nothing."
    )
    return section("Interventions", note, f"<div class='wide'>{table}</div>")


def _answer(row: Mapping[Any, Any] | None) -> str:
    """One agent's answer to one question."""
    if row is None:
        return "<td class='undefined'>&ndash;</td>"
    hint = escape(str(row["reason"] or f"p {row['p_adjusted']}, {row['units']} units"))
    if pd.isna(row["effect"]):
        return f"<td class='undefined' title='{hint}'>&ndash;</td>"
    kind = MARKS[row["passed"]] if row["gating"] else ""
    small = "" if pd.isna(row["ci_low"]) else f"<small>{row['ci_low']:.2f} &hellip; {row['ci_high']:.2f}</small>"
    return f"<td class='{kind}' title='{hint}'><b>{row['effect']:.2f}</b>{small}</td>"
