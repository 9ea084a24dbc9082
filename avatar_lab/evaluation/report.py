"""Everything on disk about one evaluation, read and aggregated: the report's content, without its looks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from avatar_lab.evaluation.agents import Agent
from avatar_lab.evaluation.archive import read_observations
from avatar_lab.evaluation.bars import Verdict, judge
from avatar_lab.evaluation.comparisons import Pair, compare_agents
from avatar_lab.evaluation.estimates import ESTIMATED_FROM, AgentMetric, estimate_metric
from avatar_lab.evaluation.film import film_seconds
from avatar_lab.evaluation.intervention_rows import interventions_df
from avatar_lab.evaluation.latency import SHOWN, latency_path
from avatar_lab.evaluation.metrics import METRICS, SUMMARY_METRICS
from avatar_lab.evaluation.observation import Observation
from avatar_lab.evaluation.plots import ResponseCurve
from avatar_lab.evaluation.plots_film import strip_figure
from avatar_lab.evaluation.responses import RESPONSES, Response, curve_bins, event_locked_counts
from avatar_lab.evaluation.rows import samples_df
from avatar_lab.evaluation.runner import TRUTH
from avatar_lab.evaluation.statistics import Array
from avatar_lab.evaluation.strength import judge_strength
from avatar_lab.evaluation.summary import summarise, write_json
from avatar_lab.evaluation.timelines import Timelines, timelines

LEVEL_TABLE = (*SUMMARY_METRICS, "nod_rate", "backchannel_rate", "smile_rate", "blink_rate")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page shows.

    agents   those that have rows, by name
    films    sample name to {agent: mp4}
    notes    sample name to why it is shown
    strips   sample name to {agent: strip of voices and events below the film}
    details  every metric of every agent
    reader   R squared of the pixel reader by channel, where the truth is known
    losses   run to {term: (steps, values)}
    """

    agents: dict[str, Agent]
    cells: list[AgentMetric]
    details: list[AgentMetric]
    pairs: list[Pair]
    interventions: pd.DataFrame | None
    timelines: dict[str, Timelines]
    verdicts: list[Verdict]
    curves: dict[str, list[ResponseCurve]]
    latency: dict[str, Any] | None
    losses: dict[str, dict[str, tuple[Array, Array]]]
    films: dict[str, dict[str, Path]]
    notes: dict[str, str]
    strips: dict[str, dict[str, str]]
    reader: dict[str, float | None] | None
    seconds: dict[str, float]
    hardware: dict[str, Any]
    commit: str | None
    setting: str

    def cell(self, agent: str, metric: str) -> AgentMetric:
        return next(cell for cell in self.cells if cell.agent == agent and cell.metric == metric)


def gather(
    out: Path,
    *,
    agents: Mapping[str, Agent],
    runs: Path | None,
    seconds: Mapping[str, float],
    hardware: Mapping[str, Any],
    commit: str | None,
    setting: str,
    seed: int,
    fps: float,
) -> Report:
    """Read rows, events, cues, latency and films under ``out``, and loss curves under ``runs``.

    Raises:
        ValueError: nothing was measured yet.
    """
    samples = samples_df(out / "rows")
    agents = {name: agent for name, agent in agents.items() if name in set(samples.agent)}
    rows_of = dict(list(samples[list(ESTIMATED_FROM)].groupby("agent")))  # narrow: they are cut hundreds of times
    cells = [
        estimate_metric(rows_of[agent], agent=agent, metric=metric, seed=seed)
        for agent in agents
        for metric in LEVEL_TABLE
    ]
    known = {(cell.agent, cell.metric): cell for cell in cells}
    details = [
        known.get((agent, metric)) or estimate_metric(rows_of[agent], agent=agent, metric=metric, seed=seed)
        for agent in agents
        for metric in METRICS
    ]
    latencies = {agent: timed for agent in agents if (timed := _read_json(latency_path(out, agent)))}
    latency = latencies.get(SHOWN)
    every = {(cell.agent, cell.metric): cell for cell in details}
    asked = out / "interventions.parquet"
    films = list_films(out / "films", agents)
    cues = json.loads((out / "cues.json").read_text())
    names = dict.fromkeys([*agents, TRUTH])  # the recorded people are kept whoever was asked for
    observed = {name: seen for name in names if (seen := read_observations(out, name))}
    notes = json.loads((out / "notable.json").read_text()) if (out / "notable.json").is_file() else []
    return Report(
        agents=agents,
        cells=cells,
        details=details,
        pairs=compare_agents(samples, agents, seed=seed),
        interventions=interventions_df(asked) if asked.is_file() else None,
        timelines=draw_timelines(observed, cues, agents, fps=fps),
        verdicts=[*judge(known, latency), *judge_strength(every, latencies)],
        curves=response_curves(out, samples, agents),
        latency=latency,
        losses={} if runs is None else loss_curves(runs),
        films=films,
        notes={note["sample"]: note["why"] for note in notes},
        strips=draw_strips(observed, films, cues, fps=fps),
        reader=_read_json(out / "reader.json"),
        seconds=dict(seconds),
        hardware=dict(hardware),
        commit=commit,
        setting=setting,
    )


def write_summary(report: Report, folder: Path) -> None:
    """``summary.json``, and ``bars.json`` with the verdicts."""
    latency = report.latency
    if latency is not None:
        latency = {name: value for name, value in latency.items() if not isinstance(value, list)}
    summary = summarise(
        report.cells, latency=latency, seconds=report.seconds, hardware=report.hardware, commit=report.commit
    )
    write_json(folder / "summary.json", summary)
    write_json(folder / "bars.json", [vars(verdict) for verdict in report.verdicts])


def response_curves(out: Path, samples: pd.DataFrame, agents: Iterable[str]) -> dict[str, list[ResponseCurve]]:
    """Event-locked curves by response, over the samples in which each agent was judged."""
    cues = json.loads((out / "cues.json").read_text())
    curves: dict[str, list[ResponseCurve]] = {response.metric: [] for response in RESPONSES}
    for agent in agents:
        path = out / "events" / f"{agent}.parquet"
        judged = set(samples[samples.agent == agent].sample_id) & set(cues)
        if not judged or not path.is_file():
            continue
        events = pq.read_table(path, columns=["interaction", "type", "start"]).to_pandas()
        own_cues = {name: cue for name, cue in cues.items() if name in judged}
        for response in RESPONSES:
            curves[response.metric].append(response_curve(agent, response, own_cues, events))
    return curves


def response_curve(agent: str, response: Response, cues: dict[str, Any], events: pd.DataFrame) -> ResponseCurve:
    """Curve of one agent; samples of one dyad are added up."""
    kept = events[events.type.isin([str(kind) for kind in response.behaviours])]
    onsets = {name: group.start.to_numpy() for name, group in kept.groupby("interaction")}
    dyads = sorted({sample["dyad"] for sample in cues.values()})
    counts = {part: np.zeros((len(dyads), len(curve_bins()))) for part in ("cues", "controls")}
    totals = {part: np.zeros(len(dyads)) for part in ("cues", "controls")}
    for name, sample in cues.items():
        row = dyads.index(sample["dyad"])
        for part in counts:
            times = np.array(sample["kinds"][response.cue.name][part], dtype=np.float64)
            counts[part][row] += event_locked_counts(onsets.get(name, np.zeros(0)), times)
            totals[part][row] += len(times)
    return ResponseCurve(
        agent=agent,
        cue_counts_DN=counts["cues"],
        cues_D=totals["cues"],
        control_counts_DN=counts["controls"],
        controls_D=totals["controls"],
    )


def draw_timelines(
    observed: Mapping[str, Mapping[str, Observation]], cues: Mapping[str, Any], agents: Iterable[str], *, fps: float
) -> dict[str, Timelines]:
    """Timelines of those ``agents`` that were observed; none where the recorded people were not."""
    users = observed.get(TRUTH)
    if users is None:
        return {}
    return {agent: timelines(observed[agent], cues, users, fps=fps) for agent in agents if agent in observed}


def loss_curves(runs: Path) -> dict[str, dict[str, tuple[Array, Array]]]:
    """Loss terms of every run below ``runs``, from its ``metrics.jsonl``, in the order in which they were started."""
    paths = sorted(runs.glob("*/metrics.jsonl"), key=lambda path: (path.parent / "config.yaml").stat().st_mtime)
    found = {}
    for path in paths:
        rows = _json_rows(path)
        names = sorted({name for row in rows for name in row if "/loss/" in name})
        terms = {}
        for name in names:
            points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
            if points:
                steps_N, values_N = np.array(points, dtype=np.float64).T
                terms[name.replace("/loss/", " ")] = (steps_N, values_N)
        if terms:
            found[path.parent.name] = terms
    return found


def list_films(folder: Path, agents: Iterable[str]) -> dict[str, dict[str, Path]]:
    """Films by sample, agents in the order of the table."""
    found: dict[str, dict[str, Path]] = {}
    for agent in agents:
        for path in sorted(folder.glob(f"*.{agent}.mp4")):
            found.setdefault(path.name.removesuffix(f".{agent}.mp4"), {})[agent] = path
    return found


def draw_strips(
    observed: Mapping[str, Mapping[str, Observation]],
    films: Mapping[str, Mapping[str, Path]],
    cues: Mapping[str, Any],
    *,
    fps: float,
) -> dict[str, dict[str, str]]:
    """What goes below each film; nothing where its agent's or its user's curves are not kept."""
    users = observed.get(TRUTH, {})
    strips: dict[str, dict[str, str]] = {}
    for sample, by_agent in films.items():
        user = users.get(cues[sample]["partner"]) if sample in cues else None
        for agent, path in by_agent.items():
            seen = observed.get(agent, {}).get(sample)
            if user is not None and seen is not None:
                drawn = strip_figure(user, seen, fps=fps, seconds=film_seconds(path))
                strips.setdefault(sample, {})[agent] = drawn
    return strips


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None


def _json_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a log; a last line that is still being written is left out."""
    rows = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            rows.append(json.loads(line))
    return rows
