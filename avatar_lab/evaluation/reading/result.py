"""One evaluation on disk, opened: rows, agents, and what they were made from.

<out>/evaluation/   rows/, events/, cues.json, sources.json, latency.json, interventions.parquet
<out>/report/       summary.json
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from avatar_lab.evaluation.agents import AGENTS, FURTHER_COLOURS, Agent, MediaAgent, ModelAgent
from avatar_lab.evaluation.rows import events_df, samples_df
from avatar_lab.evaluation.sources import Source, read_sources
from avatar_lab.level import Level

NOT_RECORDED = "not recorded: evaluate again"
"""Of evaluations from before ``sources.json``; what is measured already is not measured again."""
LIBRARIES = ("torch", "numpy", "pandas", "pyarrow", "matplotlib")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was measured.

    root     as given to ``avatar-lab evaluate root=...``, or the folder of the measurements itself
    folder   of the measurements
    samples  one row per sample and metric
    agents   those that have rows: models, then references
    """

    root: Path
    folder: Path
    samples: pd.DataFrame
    agents: dict[str, Agent]

    @property
    def seed(self) -> int:
        """Of rollouts and resampling."""
        return int(self.samples.seed.iloc[0])

    def events(self) -> pd.DataFrame:
        """What the detectors found, of all agents."""
        return events_df(self.folder / "events")

    def of(self, agent: str) -> pd.DataFrame:
        """Rows of one agent.

        Raises:
            ValueError: it was not measured.
        """
        if agent not in self.agents:
            raise ValueError(f"{self.folder} has no agent {agent!r}; it has {list(self.agents)}")
        return self.samples[self.samples.agent == agent]

    def json(self, path: Path, *, how: str) -> dict[str, Any]:
        """A json file of the evaluation.

        Raises:
            ValueError: it is not there; ``how`` says what makes it.
        """
        if not path.is_file():
            raise ValueError(f"there is no {path}: {how}")
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def open_result(out: str | Path) -> Result:
    """Open what ``avatar-lab evaluate root=OUT`` wrote; a relative ``out`` may lie in a folder above this one.

    Raises:
        ValueError: there is no such folder, nothing was measured in it, or its tables are of another version.
    """
    root = find_folder(out)
    folder = next((path for path in (root / "evaluation", root) if (path / "rows").is_dir()), None)
    if folder is None:
        raise ValueError(f"{root} holds no evaluation: run `avatar-lab evaluate root={out}` first")
    samples = samples_df(folder / "rows")
    return Result(root=root, folder=folder, samples=samples, agents=agents_of(samples))


def find_folder(out: str | Path) -> Path:
    """``out`` from the working directory, or from the nearest folder above it that has such a folder.

    Raises:
        ValueError: none has.
    """
    for base in (Path.cwd(), *Path.cwd().parents):
        if (base / out).is_dir():
            return base / out
    raise ValueError(f"there is no folder {out} here or above {Path.cwd()}: correct `out` in the first cell")


def agents_of(samples: pd.DataFrame) -> dict[str, Agent]:
    """Agents of some rows in the order of the report; those that only this evaluation knows after the levels."""
    first = samples.drop_duplicates("agent").set_index("agent")
    others: list[Agent] = []
    for name in sorted(set(first.index) - set(AGENTS)):
        row, colour = first.loc[name], FURTHER_COLOURS[len(others) % len(FURTHER_COLOURS)]
        others.append(_film_maker(name, colour) if pd.isna(row.checkpoint) else _model(name, row, colour))
    known = [agent for name, agent in AGENTS.items() if name in first.index]
    models = [agent for agent in known if isinstance(agent, ModelAgent)]
    return {agent.name: agent for agent in (*models, *others, *(agent for agent in known if agent not in models))}


def _film_maker(name: str, colour: str) -> MediaAgent:
    return MediaAgent(name=name, title=name, folder=Path(), about="films of another system", colour=colour)


def _model(name: str, row: pd.Series, colour: str) -> ModelAgent:
    level = Level(int(row.level))
    return ModelAgent(
        name=name, title=name, checkpoint=row.checkpoint, level=level, about=row.checkpoint, colour=colour
    )


def facts(result: Result) -> pd.DataFrame:
    """Versions, data and checkpoints behind a result, for the first cell."""
    return as_table([*software(), *_measured(result)])


def software() -> Iterator[tuple[str, str]]:
    """Versions of what a notebook runs with."""
    yield "python", platform.python_version()
    yield "avatar_lab", version("avatar-lab")
    yield from ((name, version(name)) for name in LIBRARIES)


def _measured(result: Result) -> Iterator[tuple[str, str]]:
    samples, sources = result.samples, read_sources(result.folder)
    yield "measured by commit", ", ".join(sorted(samples.code_sha.unique()))
    yield "seed", ", ".join(str(seed) for seed in sorted(samples.seed.unique()))
    for (dataset, split), part in samples.groupby(["dataset", "split"]):
        yield f"data {dataset}, split {split}", f"{part.dyad_id.replace('', pd.NA).nunique()} dyads"
    current = {name: found for name, found in sources.items() if name in result.agents and _is_of(result, name, found)}
    yield "data hash", ", ".join(sorted({found.data_sha[:12] for found in current.values()})) or NOT_RECORDED
    for name, agent in result.agents.items():
        if isinstance(agent, ModelAgent):
            yield f"checkpoint of {agent.title}", _checkpoint(current.get(name))


def _is_of(result: Result, agent: str, source: Source) -> bool:
    """Whether a record is about the rows that are there."""
    return str(result.of(agent).config_sha.iloc[0]) == source.config_sha


def _checkpoint(source: Source | None) -> str:
    if source is None:
        return NOT_RECORDED
    return "none" if source.checkpoint_sha is None else f"{source.checkpoint_sha[:12]}, commit {source.commit}"


def as_table(rows: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Names and values as one column."""
    names, values = zip(*rows, strict=True)
    return pd.DataFrame({"": values}, index=pd.Index(names))


def machine(result: Result) -> pd.DataFrame:
    """The machine of the last evaluation, without which milliseconds mean nothing.

    Raises:
        ValueError: there is no report.
    """
    how = f"run `avatar-lab evaluate root={result.root}` to the end; nothing is measured twice"
    hardware = result.json(result.root / "report" / "summary.json", how=how)["hardware"]
    return as_table((name, str(value)) for name, value in hardware.items())
