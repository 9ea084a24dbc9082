"""``python -m avatar_lab.train experiment=teacher out=... [key=value ...]``: one stage, from config to artefacts.

``--cfg job`` prints the config, ``--multirun`` sweeps, ``+dry_run=true`` builds everything and trains nothing. Jobs
start as ``python -m avatar_lab.train --submitted FILE`` with the resolved config that they were submitted with.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from avatar_lab.config import CONFIG_MODULE, SUBMITTED, RunConfig, build_layout, read_resolved, run_task
from avatar_lab.construct import build
from avatar_lab.data.dataset import DyadData
from avatar_lab.data.pairs import StoredPairs
from avatar_lab.dry_run import describe
from avatar_lab.run_folder import claim, finish, read_starts, set_aside
from avatar_lab.run_lock import job_id, owned, requeued
from avatar_lab.stage.protocol import Stage
from avatar_lab.training import distributed
from avatar_lab.training.protocol import BatchSource

log = logging.getLogger(__name__)


def shared_objects(config: RunConfig) -> dict[str, Any]:
    """What constructors may ask for by name: ``layout``, ``seed``, and the codecs with what follows from them."""
    layout = build_layout(config.layout)
    codecs = build(config.codec, layout=layout, seed=config.seed)
    shared = {"layout": layout, "seed": config.seed} | codecs
    if "audio_codec" in codecs:
        shared["codebook"] = codecs["audio_codec"].codebook
    return shared


def chosen(group: str, node: dict[str, Any]) -> dict[str, Any]:
    """``node``, if it says what to build.

    Raises:
        ValueError: nothing was chosen for this group.
    """
    if "_target_" not in node:
        raise ValueError(f"no {group} chosen: add {group}=... or name a whole run, as in experiment=quickstart/teacher")
    return node


def build_stage(config: RunConfig, shared: Mapping[str, Any]) -> Stage:
    """The stage with freshly initialised networks, the same ones for the same seed."""
    torch.manual_seed(config.seed)
    stage: Stage = build(chosen("stage", config.stage), **shared)
    return stage


def build_data(config: RunConfig, shared: Mapping[str, Any]) -> BatchSource:
    """Where batches come from.

    Raises:
        ValueError: a prepared data set was encoded with other codecs than this run's, or has other grids.
    """
    data: BatchSource = build(chosen("data", config.data), **shared)
    if isinstance(data, DyadData | StoredPairs):
        data.info.check_codecs(
            audio_fingerprint=shared["audio_codec"].spec.fingerprint,
            video_fingerprint=shared["video_codec"].spec.fingerprint,
        )
    return data


def run(config: RunConfig) -> int:
    """Train one stage to its end, or until a signal; returns the exit code."""
    shared = shared_objects(config)
    if config.dry_run:
        describe(shared["layout"], lambda: build_stage(config, shared), lambda: build_data(config, shared))
        return 0
    if config.gate is not None:
        from avatar_lab.gate import check_gate  # here, since it brings along the whole evaluation

        check_gate(config)
    judge = None
    if config.judge is not None:
        from avatar_lab.judge import Judge  # likewise

        judge = Judge(config)
        judge.check()
    stage, data = build_stage(config, shared), build_data(config, shared)
    fit, machine = build(config.training), build(config.cluster["machine"])
    samples = None if config.samples is None else build(chosen("samples", config.samples), **shared)
    out = Path(config.out)

    def begin() -> None:
        if not config.resume:
            set_aside(out)
        info = data.info if isinstance(data, DyadData | StoredPairs) else None
        claim(out, config, data=info, lineage=() if stage.card is None else stage.card.lineage)

    with owned(out, begin):  # only now: a config that cannot be built leaves no trace
        result = fit.run(
            stage=stage,
            data=data,
            layout=shared["layout"],
            out=out,
            seed=config.seed,
            machine=machine,
            resume=config.resume,
            samples=samples,
            judge=judge,
            config=vars(config),
        )
        if result.exit_code or distributed.rank() != 0:
            return result.exit_code
        artefacts: Mapping[str, Any] = stage.export(result.roles)
        ended: dict[str, Any] = {"steps": result.steps_done, "seconds": result.seconds}
        if judge is None:
            finish(out, artefacts, **ended)
        else:
            finish(out, judge.choose(artefacts), **ended, best_step=judge.best())
        if config.gate is not None:
            from avatar_lab.gate import GATE_EXIT_CODE, passes

            if not passes(config):
                log.error("error: the gate is shut; train longer or otherwise, or lower it if you know better")
                return GATE_EXIT_CODE
    return 0


@hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name="train")
def _task(node: DictConfig) -> None:
    config = RunConfig.from_node(node)
    job = HydraConfig.get()
    if job.mode is RunMode.MULTIRUN:  # every job of a sweep has a folder of its own
        config = replace(config, out=str(Path(config.out) / str(job.job.num)))
    code = run(config)
    if code:
        sys.exit(code)


def _submitted(path: Path) -> None:
    config = read_resolved(path)
    # a job that is requeued goes on with what it began, and only with that: it may have died before it began anything
    if requeued() and any(start.get("job") == job_id() for start in read_starts(Path(config.out))):
        config = replace(config, resume=True)
    code = run(config)
    if code:
        sys.exit(code)


def main() -> None:
    """Entry point."""
    if sys.argv[1:2] == [SUBMITTED]:
        run_task(lambda: _submitted(Path(sys.argv[2])))
    else:
        run_task(_task)


if __name__ == "__main__":
    main()
