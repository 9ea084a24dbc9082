"""What an evaluation is asked for, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from avatar_lab.config import RunConfig, compose_more, known_keys, resolved_values
from avatar_lab.construct import nearest
from avatar_lab.evaluation.agents import AGENTS
from avatar_lab.evaluation.intervene import INTERVENTIONS
from avatar_lab.evaluation.plugin.table import PLUGINS
from avatar_lab.precision import find_device
from avatar_lab.run_graph import parsed


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
            ValueError: a key, an agent, an intervention or a plugin is unknown.
        """
        return cls.of(known_keys(node, cls, "an evaluation"))

    @classmethod
    def read(cls, path: Path) -> EvaluateConfig:
        """As it was submitted.

        Raises:
            ValueError: the file is missing or was changed, or as :meth:`from_node`.
        """
        return cls.of(resolved_values(path, cls, "an evaluation"))

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> EvaluateConfig:
        """From plain values. The device is left to where it is measured, which may be another machine.

        Raises:
            ValueError: an agent, an intervention or a plugin is unknown.
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
        return config

    @property
    def place(self) -> torch.device:
        """The device, found out where none is named.

        Raises:
            ValueError: it is not on this machine.
        """
        return find_device(self.device)


def evaluation_of(run: RunConfig, overrides: Sequence[str]) -> EvaluateConfig:
    """What is measured behind the graph of ``run``: on its data, with its layout and its codecs, though not on their
    devices, unless ``overrides`` of ``configs/evaluate.yaml`` say otherwise.

    Raises:
        ValueError: a key, an agent, an intervention or a plugin is unknown.
    """
    own = [f"root={run.root}", f"seed={run.seed}"]
    if "root" in run.data:
        own.append(f"shards={run.data['root']}")
    plain = known_keys(compose_more("evaluate", [*own, *overrides]), EvaluateConfig, "an evaluation")
    said = {each.key_or_group.split(".")[0] for _, each in parsed(overrides)}
    codecs = {
        name: {key: value for key, value in codec.items() if key != "device"} for name, codec in run.codec.items()
    }  # the job that evaluates has other devices
    groups = {"layout": run.layout, "codec": codecs or plain["codec"]}
    return EvaluateConfig.of(plain | {name: group for name, group in groups.items() if name not in said})
