"""``avatar-lab submit experiment=... cluster=... [key=value ...] [--print]``: an experiment as a Slurm job.

The script comes from ``slurm/train.sbatch``; what varies between sites comes from ``configs/cluster``.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template

from avatar_lab.config import COMPOSITION_ERRORS, RunConfig, load, sentence
from avatar_lab.training.interrupts import REQUEUE_EXIT_CODE

TEMPLATE = Path(__file__).parent.parent / "slurm" / "train.sbatch"


def script(config: RunConfig, overrides: Sequence[str]) -> str:
    """The job script of a run.

    Raises:
        ValueError: the cluster config does not describe a Slurm cluster, or the template is missing.
    """
    sbatch = config.cluster["sbatch"]
    if sbatch is None:
        raise ValueError(
            "this cluster config is not a Slurm cluster: add cluster=slurm, or copy it to one of your site"
        )
    if not TEMPLATE.exists():
        raise ValueError(f"{TEMPLATE} is missing: run submit from a clone of the repository")
    directives = [f"#SBATCH --{key}={value}" for key, value in sbatch.items() if value is not None]
    return Template(TEMPLATE.read_text()).substitute(
        name=Path(config.out).name,
        out=config.out,
        directives="\n".join(directives),
        setup=config.cluster["setup"] or "",
        command=shlex.join(["python", "-m", "avatar_lab.train", *overrides]),
        requeue_code=REQUEUE_EXIT_CODE,
    )


def main() -> None:
    """Write the script into the run folder and hand it to ``sbatch``, or print it."""
    parser = argparse.ArgumentParser(prog="avatar-lab submit", description=__doc__)
    parser.add_argument("overrides", nargs="+", help="what avatar-lab train would get")
    parser.add_argument("--print", action="store_true", dest="only_print", help="show the script, submit nothing")
    arguments = parser.parse_args()
    try:
        config = load(arguments.overrides)
        text = script(config, arguments.overrides)
    except COMPOSITION_ERRORS as error:
        sys.exit(f"error: {sentence(error)}")
    except ValueError as error:
        sys.exit(f"error: {error}")
    if arguments.only_print:
        sys.stdout.write(text)
        return
    path = Path(config.out) / "train.sbatch"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    try:
        subprocess.run(["sbatch", str(path)], check=True)
    except FileNotFoundError:
        sys.exit(f"error: no sbatch on this machine; the script is at {path}: submit it on a login node")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: sbatch refused {path} with code {error.returncode}; its own message is above")
    sys.stdout.write(f"run folder {config.out}; follow it with: tail -f {config.out}/slurm-*.log\n")


if __name__ == "__main__":
    main()
