"""``avatar-lab evaluate root=...``: checkpoints and reference agents -> rows, films, report and ``summary.json``.

Agents that are measured already are not measured again; every file but the report is only written where it is missing
or made with other settings. Jobs start as ``avatar-lab evaluate --submitted FILE`` with resolved settings.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import hydra
from omegaconf import DictConfig

from avatar_lab.config import CONFIG_MODULE, SUBMITTED, build_layout, run_task
from avatar_lab.construct import build
from avatar_lab.data.dataset import DyadData
from avatar_lab.data.schema import file_sha256
from avatar_lab.evaluate_config import EvaluateConfig
from avatar_lab.evaluation.agents import AGENTS, Agent, ModelAgent, cast
from avatar_lab.evaluation.conversation import list_conversations, recorded_batch
from avatar_lab.evaluation.hardware import describe_hardware
from avatar_lab.evaluation.intervene import log_rows, run_interventions
from avatar_lab.evaluation.latency import latency_path, measure_latency
from avatar_lab.evaluation.live import Persona
from avatar_lab.evaluation.notable import film_notable
from avatar_lab.evaluation.plugin.table import PLUGINS
from avatar_lab.evaluation.progress import ShowAgents
from avatar_lab.evaluation.reader_quality import read_quality
from avatar_lab.evaluation.references import References, Unavailable
from avatar_lab.evaluation.report import gather, write_summary
from avatar_lab.evaluation.report_html import write_html
from avatar_lab.evaluation.runner import run_agents
from avatar_lab.evaluation.sources import write_sources
from avatar_lab.evaluation.studio import Studio
from avatar_lab.evaluation.summary import write_json
from avatar_lab.perception.pixel_reader import PixelReader
from avatar_lab.provenance import INTERVENTIONS_VERSION, provenance, source
from avatar_lab.run_folder import commit

log = logging.getLogger(__name__)

READER_CONVERSATIONS = 4


def run(config: EvaluateConfig) -> None:
    """Measure, then write the report.

    Raises:
        ValueError: ``step_seconds`` is not there, or as :func:`build_studio`.
    """
    if config.step_seconds is not None and not Path(config.step_seconds).is_file():  # before hours of measuring
        raise ValueError(f"step_seconds {config.step_seconds} does not exist: give the file of wall times, or null")
    start = time.perf_counter()
    studio, data = measure_agents(config)
    if config.interventions:
        _intervene(config, studio, data)
    if config.notable:
        film_notable(studio, out=Path(config.out), count=config.notable)
    write_json(Path(config.out) / "reader.json", read_quality(studio, num_conversations=READER_CONVERSATIONS))
    if config.latency_seconds > 0:
        _latency(config, studio)
    num_dyads = len(studio.references.interactions)
    _report(config, data, studio, num_dyads=num_dyads, evaluation_seconds=time.perf_counter() - start)


def measure_agents(config: EvaluateConfig) -> tuple[Studio, DyadData]:
    """Write the rows of all agents that have none yet; returns where they performed, and the data."""
    studio, data = build_studio(config)
    if config.inputs is not None:
        studio.write_inputs(Path(config.inputs))
        log.info("inputs of %d samples for other systems: %s", len(studio.conversations), config.inputs)
    for plugin in studio.plugins:
        try:
            plugin.identity()
        except Unavailable as error:
            log.warning("plugin %s is unavailable, so are its metrics: %s", plugin.name, error)
        else:
            log.info("plugin %s: %s", plugin.name, plugin.weights)
    names = [*config.agents, *config.compare, *config.media]
    with ShowAgents() as progress:
        run_agents(
            studio,
            names,
            out=Path(config.out),
            provenance=partial(provenance, config, data),
            batch_size=config.batch_size,
            offline_dyads=config.offline_dyads,
            workers=config.workers,
            progress=progress.update,
        )
    write_sources(Path(config.out), {name: source(config, data, studio.agents[name]) for name in names})
    return studio, data


def build_studio(config: EvaluateConfig) -> tuple[Studio, DyadData]:
    """The studio for the workers, and the data set as this process reads it."""
    device = str(config.place)  # first: a wrong one is refused before anything is loaded
    layout = build_layout(config.layout)
    codecs = build(config.codec, layout=layout, seed=config.seed)
    audio_codec, video_codec = codecs["audio_codec"], codecs["video_codec"]
    open_data = partial(
        DyadData,
        root=Path(config.shards),
        layout=layout,
        batch_size=1,
        num_blocks=layout.num_blocks(config.seconds),
        seed=config.seed,
        split=config.split,
    )
    data = open_data()
    data.info.check_codecs(
        audio_fingerprint=audio_codec.spec.fingerprint, video_fingerprint=video_codec.spec.fingerprint
    )
    conversations = list_conversations(
        data, layout, split=config.split, num_dyads=config.num_dyads, seconds=config.seconds
    )
    references = References(
        layout=layout,
        audio_codec=audio_codec,
        video_codec=video_codec,
        interactions=tuple(dict.fromkeys(conversation.interaction for conversation in conversations)),
        recordings=None if config.recordings is None else Path(config.recordings),
    )
    studio = Studio(
        agents=cast(config.compare, config.media),
        open_data=open_data,
        layout=layout,
        audio_codec=audio_codec,
        video_codec=video_codec,
        reader=PixelReader.load(),
        references=references,
        checkpoints=Path(config.checkpoints),
        conversations=tuple(conversations),
        seed=config.seed,
        films=config.films,
        film_seconds=config.film_seconds,
        film_folder=Path(config.out) / "films",
        plugins=tuple(PLUGINS[name] for name in config.plugins),
        device=device,
    )
    return studio, data


def _offline(agent: Agent) -> bool:
    return isinstance(agent, ModelAgent) and agent.offline


def _intervene(config: EvaluateConfig, studio: Studio, data: DyadData) -> None:
    """Ask all agents that stream, and the references, about the interventions; plugins have no part in it."""
    config = replace(config, plugins=[])
    streaming = [name for name in config.agents if not _offline(AGENTS[name])]
    with ShowAgents() as progress:
        rows = run_interventions(
            studio,
            streaming,
            config.interventions,
            out=Path(config.out),
            num_dyads=config.intervention_dyads,
            batch_size=config.batch_size,
            workers=config.workers,
            config_sha=lambda name: f"{provenance(config, data, AGENTS[name]).config_sha}-{INTERVENTIONS_VERSION}",
            progress=progress.update,
        )
    log_rows(rows)


def _latency(config: EvaluateConfig, studio: Studio) -> None:
    """Stream the first conversation through a live session of each of ``latency_agents``, once per checkpoint."""
    for name in config.latency_agents:
        agent, path = studio.agents[name], latency_path(Path(config.out), name)
        if not isinstance(agent, ModelAgent) or agent.offline:
            raise ValueError(f"latency_agents: {name} does not stream; name models that do")
        try:
            checkpoint = studio.checkpoint(agent)
        except Unavailable as error:
            log.warning("latency of %s is not measured: %s", name, error)
            continue
        steps = "" if agent.num_steps is None else f" in {agent.num_steps} steps"
        where = "" if config.place.type == "cpu" else f" on {config.place.type}"
        key = file_sha256(agent.path(Path(config.checkpoints))) + f" {config.latency_seconds:g} s{steps}{where}"
        if path.is_file() and json.loads(path.read_text()).get("checkpoint_sha256") == key:
            continue
        log.info("streaming %g s of %s through a live session", config.latency_seconds, name)
        batch = recorded_batch(studio.data, studio.conversations[:1])
        audio_codec, video_codec = studio.audio_codec, studio.video_codec
        persona = Persona.of_batch(batch, audio_codec=audio_codec, video_codec=video_codec)
        session = persona.open(checkpoint, audio_codec=audio_codec, video_codec=video_codec, seed=config.seed)
        user = studio.user(studio.conversations[0]).first(config.latency_seconds, studio.layout)
        measured = measure_latency(session, user, persona.script)
        write_json(path, measured | {"checkpoint_sha256": key, "device": str(config.place)})


def _report(
    config: EvaluateConfig, data: DyadData, studio: Studio, *, num_dyads: int, evaluation_seconds: float
) -> None:
    seconds: dict[str, float] = {}
    if config.step_seconds is not None:
        seconds = json.loads(Path(config.step_seconds).read_text())
    setting = (
        f"{num_dyads} dyads of split {config.split}, {config.seconds:g} s, each person as the avatar once; "
        f"seed {config.seed}, data {data.info.content_hash[:12]}"
    )
    report = gather(
        Path(config.out),
        agents=studio.agents,
        runs=None if config.runs is None else Path(config.runs),
        seconds=seconds | {"evaluate": round(evaluation_seconds, 1)},
        hardware=describe_hardware(),
        commit=commit(),
        setting=setting,
        seed=config.seed,
        fps=float(studio.layout.fps),
    )
    folder = Path(config.report)
    write_summary(report, folder)
    write_html(report, folder / "index.html", seed=config.seed)
    for verdict in report.verdicts:
        mark = {True: "met   ", False: "missed", None: "?     "}[verdict.passed]
        log.info("%s  %-18s %-22s %s  (%s)", mark, verdict.agent, verdict.metric, verdict.observed, verdict.rule)
    for pair in report.pairs:
        if pair.second in config.compare:
            log.info("%s", pair)
    log.info("report: %s", folder / "index.html")


@hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name="evaluate")
def _task(node: DictConfig) -> None:
    run(EvaluateConfig.from_node(node))


def main() -> None:
    """Entry point."""
    if sys.argv[1:2] == [SUBMITTED]:
        run_task(lambda: run(EvaluateConfig.read(Path(sys.argv[2]))))
    else:
        run_task(_task)


if __name__ == "__main__":
    main()
