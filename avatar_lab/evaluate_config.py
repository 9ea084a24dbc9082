"""What an evaluation is asked for, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig

from avatar_lab.config import known_keys
from avatar_lab.construct import nearest
from avatar_lab.evaluation.agents import AGENTS
from avatar_lab.evaluation.intervene import INTERVENTIONS
from avatar_lab.evaluation.plugin.table import PLUGINS
from avatar_lab.precision import find_device


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """One evaluation, resolved; keys as in ``configs/evaluate.yaml``."""

    root: str
    out: str
    report: str
    checkpoints: str
    shards: str
    recordings: str | None
    runs: str | None
    step_seconds: str | None
    split: str
    agents: Sequence[str]
    compare: dict[str, str | dict[str, Any]]
    media: dict[str, str]
    inputs: str | None
    num_dyads: int
    seconds: float
    seed: int
    offline_dyads: int | None
    batch_size: int
    workers: int
    device: str | None
    films: int
    film_seconds: float
    notable: int
    latency_seconds: float
    latency_agents: Sequence[str]
    interventions: Sequence[str]
    intervention_dyads: int | None
    plugins: Sequence[str]
    layout: dict[str, Any]
    codec: dict[str, Any]

    @classmethod
    def from_node(cls, node: DictConfig) -> EvaluateConfig:
        """Resolved config.

        Raises:
            ValueError: a key, an agent, an intervention or a plugin is unknown, or the device is not there.
        """
        return cls.of(known_keys(node, cls, "an evaluation"))

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> EvaluateConfig:
        """From plain values.

        Raises:
            ValueError: an agent, an intervention or a plugin is unknown, or the device is not there.
        """
        config = cls(**plain)
        for kind, names, known in (
            ("agent", config.agents, list(AGENTS)),
            ("agent", config.latency_agents, [*AGENTS, *config.compare]),
            ("intervention", config.interventions, list(INTERVENTIONS)),
            ("plugin", config.plugins, list(PLUGINS)),
        ):
            for name in names:
                if name not in known:
                    raise ValueError(f"unknown {kind} {name!r}{nearest(name, known)}; there are {known}")
        find_device(config.device)
        return config

    @property
    def place(self) -> torch.device:
        """The device, found out where none is named."""
        return find_device(self.device)
