"""Where the rows of an evaluation come from: what identifies them, so that nothing is measured twice or mixed up."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import torch

from avatar_lab.checkpoint import read_card
from avatar_lab.data.dataset import DyadData
from avatar_lab.data.schema import file_sha256
from avatar_lab.evaluate_config import EvaluateConfig
from avatar_lab.evaluation.agents import Agent, MediaAgent, ModelAgent
from avatar_lab.evaluation.exchange import films_state
from avatar_lab.evaluation.plugin.protocol import identity_of
from avatar_lab.evaluation.plugin.table import PLUGINS
from avatar_lab.evaluation.rows import Provenance
from avatar_lab.evaluation.sources import Source
from avatar_lab.perception.pixel_reader import PixelReader
from avatar_lab.precision import fast_bfloat16
from avatar_lab.run_folder import commit

SETTINGS_VERSION = 6
"""Raise when a change of code makes old rows wrong."""
INTERVENTIONS_VERSION = 2
"""The same for answers about interventions."""


def provenance(config: EvaluateConfig, data: DyadData, agent: Agent) -> Provenance:
    """Shared columns of an agent's rows; ``config_sha`` covers settings, data, codecs and checkpoint."""
    checkpoint, checkpoint_sha, level, device = None, None, None, torch.device("cpu")
    if isinstance(agent, ModelAgent):
        device = config.place
        path = agent.path(Path(config.checkpoints))
        checkpoint, level = str(path), int(agent.level)
        checkpoint_sha = file_sha256(path) if path.is_file() else None
    settings = {
        "version": SETTINGS_VERSION,
        "agent": agent.name,
        "condition": agent.condition,
        "checkpoint": checkpoint_sha,
        "data": data.info.content_hash,
        "codecs": [data.info.audio_fingerprint, data.info.video_fingerprint],
        "reader": PixelReader.load().fingerprint(),
        "fast_products": fast_bfloat16("cpu"),
        "layout": config.layout,
        "recordings": config.recordings is not None and Path(config.recordings).is_dir(),
    } | {name: vars(config)[name] for name in ("split", "num_dyads", "seconds", "seed", "films", "film_seconds")}
    if isinstance(agent, ModelAgent) and agent.offline:
        settings["offline_dyads"] = config.offline_dyads
    if isinstance(agent, ModelAgent) and agent.num_steps is not None:
        settings["num_steps"] = agent.num_steps
    if device.type != "cpu":
        settings["device"] = [device.type, fast_bfloat16(device.type)]
    if config.plugins:
        settings["plugins"] = {name: identity_of(PLUGINS[name]) for name in config.plugins}
    if isinstance(agent, MediaAgent):
        settings["films"] = films_state(agent.folder)
    return Provenance(
        run_id=Path(config.out).name,
        agent=agent.name,
        checkpoint=checkpoint,
        step=None,
        level=level,
        dataset=Path(config.shards).name,
        split=config.split,
        seed=config.seed,
        condition=agent.condition,
        code_sha=commit(),
        config_sha=sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16],
        device=str(device),
    )


def source(config: EvaluateConfig, data: DyadData, agent: Agent) -> Source:
    """What the rows of an agent are made from."""
    path = agent.path(Path(config.checkpoints)) if isinstance(agent, ModelAgent) else None
    card = read_card(path) if path is not None and path.is_file() else None
    return Source(
        config_sha=provenance(config, data, agent).config_sha,
        data_sha=data.info.content_hash,
        checkpoint_sha=file_sha256(path) if path is not None and card is not None else None,
        lineage=None if card is None else card.lineage,
        commit=None if card is None else card.commit,
    )
