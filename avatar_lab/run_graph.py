"""Several runs at once: the values of a sweep, and the stages of a graph in the order in which they need each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from avatar_lab.config import RunConfig, choices, load
from avatar_lab.construct import nearest


def load_sweep(overrides: Sequence[str]) -> list[RunConfig]:
    """One run for every combination of ``key=a,b`` values, each in a numbered folder of its own, as ``--multirun``
    does; a single one in the folder that its config says."""
    values = [
        [f"{each.get_key_element()}={value}" for value in each.sweep_string_iterator()]
        if each.is_sweep_override()
        else [text]
        for text, each in parsed(overrides)
    ]
    runs = [load(combination) for combination in product(*values)]
    if len(runs) == 1:
        return runs
    return [replace(run, out=str(Path(run.out) / str(number))) for number, run in enumerate(runs)]


def load_graph(name: str, overrides: Sequence[str]) -> dict[str, RunConfig]:
    """All experiments of folder ``name``, by their own names, with the same overrides.

    Raises:
        ValueError: there is no such folder, or an override has several values.
    """
    for text, each in parsed(overrides):
        if each.is_sweep_override():
            raise ValueError(f"{text} has several values: submit a graph for each, under a root= of its own")
    experiments = choices("experiment")
    graphs = sorted({each.split("/")[0] for each in experiments if "/" in each})
    if name not in graphs:
        raise ValueError(f"there is no graph {name!r}{nearest(name, graphs)}; there are {', '.join(graphs)}")
    stages = [each.split("/")[1] for each in experiments if each.startswith(f"{name}/")]
    return {stage: load([f"experiment={name}/{stage}", *overrides]) for stage in stages}


def needs(config: RunConfig, graph: Mapping[str, RunConfig]) -> list[str]:
    """The runs of ``graph`` whose artefacts a stage starts from: those in whose folders its paths lie."""
    paths = [Path(text) for text in _texts(config.stage)]
    return [name for name, other in graph.items() if any(path.is_relative_to(other.out) for path in paths)]


def in_order(after: Mapping[str, Sequence[str]]) -> list[str]:
    """Names such that each comes behind all that it waits for.

    Raises:
        ValueError: some wait for each other.
    """
    try:
        return list(TopologicalSorter(after).static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise ValueError(
            f"stages start from each other's artefacts in a circle: {circle}; correct stage.init"
        ) from None


def parsed(overrides: Sequence[str]) -> list[tuple[str, Override]]:
    """Each override as it was written, and what Hydra reads in it."""
    return list(zip(overrides, OverridesParser.create().parse_overrides(list(overrides)), strict=True))


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)
