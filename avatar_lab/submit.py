"""``avatar-lab submit experiment=... cluster=... [key=value ...]``: runs as Slurm jobs.

One run is a job. ``key=a,b`` sweeps, as ``--multirun`` does: an array with one task for each value. ``--graph NAME``
submits all of ``configs/experiment/NAME``, each stage behind those whose artefacts it starts from, and an evaluation
behind them all; a stage whose gate is shut, or that fails, ends what waits for it. ``--print`` shows the scripts and
submits nothing.

What a job runs is fixed at submission: its resolved config lies in ``<run folder>/submitted``, that of the evaluation
in ``<root>/evaluation/settings``. Scripts come from ``slurm/*.sbatch``, what varies between sites from
``configs/cluster``.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any

from avatar_lab.config import COMPOSITION_ERRORS, SUBMITTED, RunConfig, resolved_path, sentence, write_resolved
from avatar_lab.data.schema.index import INFO_NAME
from avatar_lab.evaluate_config import EvaluateConfig, evaluation_of
from avatar_lab.gate import GateConfig
from avatar_lab.judge import Judge
from avatar_lab.run_folder import changes_since
from avatar_lab.run_graph import in_order, load_graph, load_sweep, needs
from avatar_lab.train import chosen
from avatar_lab.training.interrupts import REQUEUE_EXIT_CODE
from avatar_lab.validation import settings

TEMPLATES = Path(__file__).parent.parent / "slurm"
LEAVING = "--kill-on-bad-exit=0 --wait=0"
"""Ranks leave one after the other: those that saved with the code that asks for a requeue, and the first of a finished
run long after the others, since it exports and judges. None may have the rest killed; a rank that breaks ends them by
way of the process group, or of ``training.stall_minutes``."""
SETTINGS = "settings"
"""Folder of resolved evaluations; not ``submitted``, by which ``avatar-lab runs`` knows a run that has not begun."""
TRAINING, EVALUATION = "train.sbatch", "evaluate.sbatch"
ONE_TASK = {"nodes": 1, "ntasks-per-node": 1}
LONGEST_WARNING = 65535
"""Seconds that ``sbatch --signal`` takes at most."""
MORE_THAN_ONE_TASK = ("ntasks", "gres", "tres-per-task")
"""Options of a training job, like those with ``gpu`` in their name, that one process without a device leaves out."""
TIMES = ("time", "time-min", "begin", "deadline")
"""Options whose values a yaml file turns into numbers unless they are quoted: ``24:00:00`` is 86400 there, which Slurm
takes for minutes."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Something to hand to ``sbatch``."""

    name: str
    out: str
    """Folder of its script and log."""
    template: str
    cluster: Mapping[str, Any]
    runs: Sequence[RunConfig] = ()
    """What it trains, one task of an array for each if there are several."""
    measures: EvaluateConfig | None = None
    """What it evaluates, if it does."""
    command: str
    """As a shell reads it."""
    after: Sequence[str] = ()
    """Names of jobs that must have succeeded."""

    def script(self) -> str:
        """The text of the job.

        Raises:
            ValueError: the cluster config is not one of a Slurm cluster, Slurm cannot warn so long before the limit, a
                time is a number, or the template is missing.
        """
        path = TEMPLATES / self.template
        if self.cluster["sbatch"] is None:
            raise ValueError(
                "this cluster config is not a Slurm cluster: add cluster=slurm, or copy it to one of your site"
            )
        if not path.exists():
            raise ValueError(f"{path} is missing: run submit from a clone of the repository")
        warning = self.cluster["warning_seconds"]
        if not isinstance(warning, int) or not 0 < warning <= LONGEST_WARNING:
            raise ValueError(f"cluster.warning_seconds {warning!r} must be a whole number from 1 to {LONGEST_WARNING}")
        options = dict(self.cluster["sbatch"])
        if len(self.runs) > 1:
            options["array"] = f"0-{len(self.runs) - 1}"
        log = Path(self.out).absolute() / f"slurm-{'%A_%a' if 'array' in options else '%j'}.log"
        return Template(path.read_text()).substitute(
            name=self.name,
            out=Path(self.out).absolute(),
            log=shlex.quote(str(log)),
            folder=shlex.quote(str(Path.cwd())),
            directives="\n".join(_directives(options)),
            setup=self.cluster["setup"] or "",
            command=self.command,
            requeue_code=REQUEUE_EXIT_CODE,
            warning_seconds=warning,
        )


def _directives(options: Mapping[str, Any]) -> Iterator[str]:
    """Lines of a script; ``true`` is an option without a value, ``false`` and ``null`` leave one to the site.

    Raises:
        ValueError: a time is a number.
    """
    for key, value in options.items():
        if value is True:
            yield f"#SBATCH --{key}"
        elif key in TIMES and isinstance(value, int | float) and value is not False:
            raise ValueError(
                f'cluster.sbatch.{key}={value} is a number: quote it in the yaml file, as "24:00:00" (which is read as '
                'the number 86400 otherwise) or "90" for minutes'
            )
        elif value is not None and value is not False:
            yield f"#SBATCH --{key}={shlex.quote(str(value))}"


def training(name: str, out: str, configs: Sequence[RunConfig], after: Sequence[str] = ()) -> Job:
    """The job of one run, or of several as an array."""
    configs = [fixed(config) for config in configs]
    files = [str(resolved_path(Path(config.out) / "submitted", config)) for config in configs]
    begin = f"srun {LEAVING} python -m avatar_lab.train {SUBMITTED}"
    command = f"{begin} {shlex.quote(files[0])}"
    if len(files) > 1:
        command = f'configs=({shlex.join(files)})\n{begin} "${{configs[SLURM_ARRAY_TASK_ID]}}"'
    cluster = configs[0].cluster
    return Job(name=name, out=out, template=TRAINING, cluster=cluster, runs=configs, command=command, after=after)


def fixed(config: RunConfig) -> RunConfig:
    """``config`` with all settings of its gate and its judge, which would else be read when the job measures.

    Raises:
        ValueError: a gate or a judge cannot be.
    """
    if config.gate is not None:
        asked = GateConfig.from_plain(config.gate).evaluate
        config = replace(config, gate=config.gate | {"evaluate": settings(config, asked)})
    if config.judge is not None:
        config = replace(config, judge=config.judge | {"evaluate": Judge(config).evaluate})
    return config


def evaluation(configs: Mapping[str, RunConfig], overrides: Sequence[str]) -> Job:
    """What gathers the artefacts of a graph and judges them, behind all of its stages: one process, and no GPU unless
    ``cluster.evaluation`` asks for one."""
    first = next(iter(configs.values()))
    root = Path(first.root)
    export = ["avatar-lab", "export", *(config.out for config in configs.values()), "--to", str(root / "checkpoints")]
    config = evaluation_of(first, overrides)
    judge = ["avatar-lab", "evaluate", SUBMITTED, str(resolved_path(root / "evaluation" / SETTINGS, config))]
    sbatch = first.cluster["sbatch"]
    if sbatch is not None:
        spared = [key for key in sbatch if "gpu" in key or key in MORE_THAN_ONE_TASK]
        sbatch = {key: value for key, value in sbatch.items() if key not in spared} | ONE_TASK
        sbatch |= first.cluster["evaluation"]
    return Job(
        name="evaluate",
        out=str(root / "evaluation"),
        template=EVALUATION,
        cluster=first.cluster | {"sbatch": sbatch},
        measures=config,
        command=f"{shlex.join(export)}\n{shlex.join(judge)}",
        after=list(configs),
    )


def jobs_of(arguments: argparse.Namespace) -> list[Job]:
    """Everything to submit, each job behind those it waits for.

    Raises:
        ValueError: nothing to train was chosen, there is no such graph, or its stages wait for each other in a circle.
    """
    if arguments.graph is None:
        configs = load_sweep(arguments.overrides)
        chosen("stage", configs[0].stage)
        folder = Path(configs[0].out)
        out = folder if len(configs) == 1 else folder.parent
        return [training(out.name, str(out), configs)]
    graph = load_graph(arguments.graph, arguments.overrides)
    after = {name: needs(config, graph) for name, config in graph.items()}
    ordered = {name: graph[name] for name in in_order(after)}  # of levels that two stages export, the later counts
    jobs = [training(name, config.out, [config], after[name]) for name, config in ordered.items()]
    return [*jobs, evaluation(ordered, arguments.evaluation)]


def submit(jobs: Sequence[Job]) -> None:
    """Write scripts and resolved configs, and hand the scripts to ``sbatch``: all of them, or none stays queued.

    Raises:
        ValueError: a job has no Slurm cluster, a run folder holds another run, there is no ``sbatch`` here, or it
            refuses; jobs that it took before are cancelled.
    """
    scripts = [job.script() for job in jobs]  # all of them before the first is submitted
    for job in jobs:
        for config in job.runs:
            if config.resume:
                changes_since(Path(config.out), config)
    paths = [Path(job.out) / f"{job.name}.sbatch" for job in jobs]
    for job, path, text in zip(jobs, paths, scripts, strict=True):
        for config in job.runs:
            write_resolved(Path(config.out) / "submitted", config)
        if job.measures is not None:
            write_resolved(Path(job.out) / SETTINGS, job.measures)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    numbers: dict[str, str] = {}
    for job, path in zip(jobs, paths, strict=True):
        options = ["--parsable"]
        if job.after:
            options += ["--dependency=afterok:" + ":".join(numbers[name] for name in job.after)]
            options += ["--kill-on-invalid-dep=yes"]
        try:
            numbers[job.name] = _sbatch([*options, str(path)])
        except (OSError, ValueError) as error:
            if not numbers:
                raise
            raise ValueError(f"{error}. {_cancel(list(numbers.values()))}") from None
        sys.stdout.write(f"job {numbers[job.name]}: {job.name}, run folder {job.out}\n")
    first, number = jobs[0], numbers[jobs[0].name]
    log = f"slurm-{number}.log" if len(first.runs) == 1 else f"slurm-{number}_0.log"
    sys.stdout.write(
        f"follow them with: squeue --me; tail -F {shlex.quote(f'{first.out}/{log}')}; and once they run: "
        f"avatar-lab runs tail {shlex.quote(first.runs[0].out)}\n"
    )
    for root in dict.fromkeys(config.data["root"] for config in first.runs if "root" in config.data):
        if not (Path(root) / INFO_NAME).exists():
            sys.stdout.write(f"note: {first.name} needs prepared data, and {root} holds none yet (data.root)\n")


def _sbatch(arguments: Sequence[str]) -> str:
    """Submit a script; returns the number of the job."""
    try:
        done = subprocess.run(["sbatch", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise ValueError(
            f"no sbatch on this machine; the script is at {arguments[-1]}: submit it on a login node"
        ) from None
    except subprocess.CalledProcessError as error:
        raise ValueError(
            f"sbatch refused {arguments[-1]} with code {error.returncode}; its own message is above"
        ) from None
    return done.stdout.strip().split(";")[0]


def _cancel(numbers: Sequence[str]) -> str:
    """End jobs of a graph that is not whole; returns what became of them."""
    command = ["scancel", *numbers]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError):
        return f"Jobs before it are still queued, and could not be cancelled: {shlex.join(command)}"
    return f"Jobs before it were cancelled ({', '.join(numbers)}): submit all again"


def main() -> None:
    """Write the scripts and submit them, or print them."""
    parser = argparse.ArgumentParser(
        prog="avatar-lab submit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="what avatar-lab train would get")
    parser.add_argument("--print", action="store_true", dest="only_print", help="show the scripts, submit nothing")
    parser.add_argument("--graph", help="all experiments of this folder, as dependent jobs, and an evaluation")
    parser.add_argument("--evaluation", nargs="*", default=[], help="what avatar-lab evaluate gets behind a graph")
    arguments = parser.parse_args()
    try:
        jobs = jobs_of(arguments)
        if arguments.only_print:
            sys.stdout.write("\n".join(job.script() for job in jobs))
        else:
            submit(jobs)
    except COMPOSITION_ERRORS as error:
        sys.exit(f"error: {sentence(error)}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
