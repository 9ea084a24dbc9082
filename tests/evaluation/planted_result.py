"""A whole evaluation of planted agents on disk, as ``avatar-lab evaluate root=...`` leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avatar_lab.evaluation.agents import AGENTS, Agent, ModelAgent
from avatar_lab.evaluation.latency import summarise_latency
from avatar_lab.evaluation.report import gather, write_summary
from avatar_lab.evaluation.rows import Provenance
from avatar_lab.evaluation.runner import run_agents
from avatar_lab.evaluation.sources import Source, write_sources
from avatar_lab.evaluation.summary import write_json
from tests.evaluation.planted import LAYOUT, PlantedStudio

CONFIG_SHA = "a" * 16


def provenance(agent: Agent) -> Provenance:
    return Provenance(
        run_id="evaluation",
        agent=agent.name,
        checkpoint=f"checkpoints/{agent.checkpoint}.safetensors" if isinstance(agent, ModelAgent) else None,
        step=None,
        level=int(agent.level) if isinstance(agent, ModelAgent) else None,
        dataset="planted",
        split="test",
        seed=0,
        condition="scripted",
        code_sha="0123456789ab",
        config_sha=CONFIG_SHA,
        device="cpu",
    )


def source(agent: Agent) -> Source:
    model = isinstance(agent, ModelAgent)
    return Source(
        config_sha=CONFIG_SHA,
        data_sha="d" * 64,
        checkpoint_sha="c" * 64 if model else None,
        lineage=("teacher:1234",) if model else None,
        commit="0123456789ab" if model else None,
    )


def write_result(root: Path, *, num_dyads: int, agents: Sequence[str] = tuple(AGENTS)) -> Path:
    """Rows, events, cues, sources, latency and the summary below ``root``; returns it."""
    out = root / "evaluation"
    run_agents(
        PlantedStudio(num_dyads=num_dyads, films=out / "films"),
        agents,
        out=out,
        provenance=provenance,
        batch_size=4,
        offline_dyads=None,
        workers=1,
        progress=lambda agent, done, total: None,
    )
    write_sources(out, {name: source(AGENTS[name]) for name in agents})
    block_seconds = np.random.default_rng(0).gamma(20.0, 0.005, 128)
    timed = summarise_latency(block_seconds.tolist(), LAYOUT)
    write_json(out / "latency.json", timed | {"encode_p50_ms": 8.0, "generate_p50_ms": 60.0, "decode_p50_ms": 30.0})
    report = gather(
        out,
        agents=AGENTS,
        runs=None,
        seconds={},
        hardware={"cpu": "planted", "cores": 2},
        commit="0123456789ab",
        setting="planted",
        seed=0,
        fps=float(LAYOUT.fps),
    )
    write_summary(report, root / "report")
    return root
