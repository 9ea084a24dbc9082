"""The worlds by name: what a recording says, so that it can be simulated again, and what ``render`` offers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from avatar_lab.world.calibrated import WORLD, calibrated
from avatar_lab.world.graph import Graph, world_v1
from avatar_lab.world.scenario import ScenarioName


class WorldName(StrEnum):
    QUICKSTART = "quickstart"
    """Few edges, clear cues: what the shipped weights were trained on."""
    CALIBRATED = WORLD
    """All edges at human rates."""


def make_world(world: WorldName, scenario: ScenarioName | None = None, *, held_out: bool = False) -> Graph:
    """The graph of a world.

    Args:
        scenario: of the calibrated world; default ``casual``.
        held_out: edges of other strengths than any training world; the quickstart's are the same for held-out people.

    Raises:
        ValueError: the quickstart's world has no scenarios.
    """
    if world is WorldName.QUICKSTART:
        if scenario is not None:
            raise ValueError(f"the {world} world has no scenario {scenario}; choose the {WorldName.CALIBRATED} world")
        return world_v1()
    return calibrated(scenario or ScenarioName.CASUAL, held_out=held_out)


def recorded_world(header: Mapping[str, Any]) -> Graph:
    """The graph that a ``world.json`` names; one that names none is of the quickstart's world.

    Raises:
        ValueError: this version does not know that world.
    """
    if "world" not in header:
        return world_v1()
    try:
        world, scenario = WorldName(header["world"]), ScenarioName(header["scenario"])
        return make_world(world, scenario, held_out=bool(header["held_out_strengths"]))
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"this version knows no world {header['world']!r} with scenario {header.get('scenario')!r}: "
            "render the recordings again"
        ) from error
