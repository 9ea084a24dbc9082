"""The nine agents of the level table, as data: who they are and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from avatar_lab.level import Level


@dataclass(frozen=True, kw_only=True)
class ModelAgent:
    """A checkpoint used at a level: ``level`` below the checkpoint's own means that the higher streams are absent."""

    name: str
    title: str
    checkpoint: str
    """File stem in the folder of checkpoints."""
    level: Level
    about: str
    filmed: bool = True
    offline: bool = False
    """Sampled window by window with sight of its own future; not a streaming model."""
    colour: str


@dataclass(frozen=True, kw_only=True)
class ReferenceAgent:
    """An agent that is no model: it says what a number can and cannot mean."""

    name: str
    title: str
    about: str
    colour: str
    filmed: bool = False


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
AGENTS: dict[str, ModelAgent | ReferenceAgent] = {agent.name: agent for agent in (*MODEL_AGENTS, *REFERENCE_AGENTS)}
