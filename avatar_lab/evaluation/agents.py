"""Who is judged, as data: the agents of the level table, further checkpoints beside them, other systems' films."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar_lab.checkpoint import BIDIRECTIONAL_STAGE
from avatar_lab.evaluation.generate import in_steps
from avatar_lab.level import Level
from avatar_lab.shipped import find_checkpoint, open_checkpoint

_ENDING = ".safetensors"
SCRIPTED = "scripted"
"""The condition in which an agent's turns are given, so that turn-taking says nothing about it."""


@dataclass(frozen=True, kw_only=True)
class ModelAgent:
    """A checkpoint used at a level: ``level`` below the checkpoint's own means that the higher streams are absent."""

    name: str
    title: str
    checkpoint: str
    """File stem in the folder of checkpoints, or the path of a file elsewhere, with its ending."""
    level: Level
    about: str
    filmed: bool = True
    offline: bool = False
    """Sampled window by window with sight of its own future; not a streaming model."""
    scripted: bool = True
    """Its turns are given; else it decides itself when to speak."""
    num_steps: int | None = None
    """Sampled in so many steps of its ODE instead of those that its card names."""
    colour: str

    @property
    def condition(self) -> str:
        """Who decides when it speaks."""
        return SCRIPTED if self.scripted else "free"

    def path(self, checkpoints: Path) -> Path:
        """Its file, where ``checkpoints`` is the folder of all that have no path of their own."""
        if self.checkpoint.endswith(_ENDING):
            return Path(self.checkpoint)
        return checkpoints / f"{self.checkpoint}{_ENDING}"


@dataclass(frozen=True, kw_only=True)
class MediaAgent:
    """Another system, known by its films only: ``<folder>/<sample>.mp4`` and ``.wav`` for every sample."""

    name: str
    title: str
    folder: Path
    about: str
    colour: str
    filmed: bool = True
    condition: str = SCRIPTED


@dataclass(frozen=True, kw_only=True)
class ReferenceAgent:
    """An agent that is no model: it says what a number can and cannot mean."""

    name: str
    title: str
    about: str
    colour: str
    filmed: bool = False
    condition: str = "recorded"
    """People decided, in the recording that it comes from."""


MODEL_AGENTS = (
    ModelAgent(
        name="level1",
        title="Level 1 talk",
        checkpoint="level1",
        level=Level.TALK,
        about="streaming student without any user input",
        colour="#7f9bb3",
    ),
    ModelAgent(
        name="level2",
        title="Level 2 listen",
        checkpoint="level2",
        level=Level.LISTEN,
        about="streaming student that hears its user",
        colour="#2a7f9e",
    ),
    ModelAgent(
        name="level3",
        title="Level 3 see",
        checkpoint="level3",
        level=Level.SEE,
        about="streaming student that hears and sees its user",
        colour="#d1495b",
    ),
    ModelAgent(
        name="level3_camera_off",
        title="Level 3, camera off",
        checkpoint="level3",
        level=Level.LISTEN,
        about="the same checkpoint without the camera; equals Level 2",
        filmed=False,
        colour="#edae49",
    ),
    ModelAgent(
        name="teacher",
        title="teacher",
        checkpoint="teacher",
        level=Level.SEE,
        about="bidirectional, by the ODE, not streaming",
        offline=True,
        colour="#6a4c93",
    ),
)
FREE_AGENTS = (
    ModelAgent(
        name="level2_free",
        title="Level 2, free",
        checkpoint="level2",
        level=Level.LISTEN,
        about="the same checkpoint without a script: it decides itself when to speak",
        scripted=False,
        colour="#1f5c73",
    ),
    ModelAgent(
        name="level3_free",
        title="Level 3, free",
        checkpoint="level3",
        level=Level.SEE,
        about="the same checkpoint without a script: it decides itself when to speak",
        scripted=False,
        colour="#9b3543",
    ),
)
REFERENCE_AGENTS = (
    ReferenceAgent(
        name="oracle", title="oracle", about="the recorded person, who really was there", colour="#222222", filmed=True
    ),
    ReferenceAgent(
        name="delayed_oracle",
        title="delayed oracle",
        about="the world's own responder, perceiving the user only as late as the models do: the bound",
        colour="#666666",
    ),
    ReferenceAgent(
        name="yoked",
        title="yoked",
        about="the reactions of another dyad: right rates, wrong times",
        colour="#999999",
    ),
    ReferenceAgent(name="frozen", title="frozen", about="a still picture, silent", colour="#bbbbbb"),
)
Agent = ModelAgent | MediaAgent | ReferenceAgent
AGENTS: dict[str, Agent] = {agent.name: agent for agent in (*MODEL_AGENTS, *FREE_AGENTS, *REFERENCE_AGENTS)}
"""Those that every evaluation knows."""
FURTHER_COLOURS = ("#2f855a", "#8f5aa8", "#c06c2b", "#3b6fb5", "#9a3b5d", "#5a7d2a")
"""Of agents that only one evaluation knows."""


def cast(compare: Mapping[str, str | Mapping[str, Any]], media: Mapping[str, str]) -> dict[str, Agent]:
    """All agents of an evaluation: models, those of ``compare`` and ``media``, then references.

    Args:
        compare: further checkpoints, name to path or ``shipped:NAME``, each used at its own level; or to ``checkpoint``
            and ``num_steps``, the same sampled in another number of steps.
        media: other systems' films, name to folder.

    Raises:
        ValueError: a name is taken or cannot name a file, a checkpoint cannot be read, or it has steps of its own.
    """
    colours = {name: FURTHER_COLOURS[place % len(FURTHER_COLOURS)] for place, name in enumerate([*compare, *media])}
    for name in colours:
        if name in AGENTS or (name in compare and name in media):
            raise ValueError(f"there is an agent {name!r} already: choose another name")
        if not name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"agent {name!r} must name files: use letters, digits, - and _")
    others: list[Agent] = []
    for name, wanted in compare.items():
        path, num_steps = _path_and_steps(name, wanted)
        found, (file, _) = open_checkpoint(path), find_checkpoint(path)
        steps = ""
        if num_steps is not None:
            in_steps(found, num_steps)  # refuses now what it would refuse in a worker
            steps = f" in {num_steps} steps"
        others.append(
            ModelAgent(
                name=name,
                title=name,
                checkpoint=str(file),
                level=found.level,
                about=f"stage {found.card.stage} at level {int(found.level)}{steps}, {path}",
                offline=found.card.stage == BIDIRECTIONAL_STAGE,
                num_steps=num_steps,
                colour=colours[name],
            )
        )
    for name, folder in media.items():
        about = f"films of another system in {folder}, sent through the same codecs"
        others.append(MediaAgent(name=name, title=name, folder=Path(folder), about=about, colour=colours[name]))
    return {agent.name: agent for agent in (*MODEL_AGENTS, *FREE_AGENTS, *others, *REFERENCE_AGENTS)}


def _path_and_steps(name: str, wanted: str | Mapping[str, Any]) -> tuple[str, int | None]:
    """What ``compare`` says of one checkpoint."""
    if isinstance(wanted, str):
        return wanted, None
    if wanted.keys() != {"checkpoint", "num_steps"}:
        raise ValueError(f"compare.{name} holds {sorted(wanted)}: give a path, or checkpoint and num_steps")
    return str(wanted["checkpoint"]), int(wanted["num_steps"])
